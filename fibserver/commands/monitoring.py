"""SLOWLOG and LATENCY: which requests were slow, and how long requests take."""

from collections.abc import Iterator

from fibserver.commands.session import Session
from fibserver.commands.subcommands import Subcommand, Subcommands
from fibserver.commands.table import Argument, Replies, command
from fibserver.core.statistics import CommandStatistics
from fibserver.monitoring.slow_log import SlowRequest
from fibserver.protocol.reply_encoding import (
    CommandError,
    Reply,
    Simple,
    Value,
    array_header,
    encode,
    map_header,
)

_GROUP = "server"

DEFAULT_ENTRIES = 10


_SLOWLOG = Subcommands(
    "SLOWLOG",
    {
        b"GET": Subcommand(
            -1,
            "[<count>]",
            (
                "Return the newest <count> entries (default: 10, -1: all). An entry consists of:",
                "id, timestamp, time in microseconds, arguments array, client IP and port,",
                "client name",
            ),
        ),
        b"LEN": Subcommand(1, "", ("Return the number of entries.",)),
        b"RESET": Subcommand(1, "", ("Remove all entries.",)),
    },
)

_LATENCY = Subcommands(
    "LATENCY",
    {
        b"DOCTOR": Subcommand(1, "", ("Return where to look for latencies.",)),
        b"HISTOGRAM": Subcommand(
            -1,
            "[<command> ...]",
            (
                "Return the cumulative distribution of execution times of the given commands,",
                "or of all.",
            ),
        ),
        b"HISTORY": Subcommand(2, "<event>", ("Return nothing: no events are recorded.",)),
        b"LATEST": Subcommand(1, "", ("Return nothing: no events are recorded.",)),
        b"RESET": Subcommand(-1, "[<event> ...]", ("Return 0: no events are recorded.",)),
    },
)


@command(
    "SLOWLOG",
    -2,
    "Returns the requests that took long to execute (GET, LEN, RESET).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("count", is_optional=True),
    ),
)
def slowlog(session: Session, arguments: list[bytes]) -> Replies:
    """Answer the newest entries first."""
    slow_log = session.server.slow_log
    value: Value
    match _SLOWLOG.parse(session, arguments), *arguments[1:]:
        case (b"HELP",):
            return _SLOWLOG.help()
        case (b"GET",):
            return _entries(list(slow_log.entries)[:DEFAULT_ENTRIES])
        case b"GET", b"-1":
            return _entries(list(slow_log.entries))
        case b"GET", count if count.isdigit():
            return _entries(list(slow_log.entries)[: int(count)])
        case b"GET", _:
            raise CommandError("count should be greater than or equal to -1")
        case b"GET", *_:
            raise CommandError("wrong number of arguments for 'slowlog|get' command")
        case (b"LEN",):
            value = len(slow_log.entries)
        case _:
            slow_log.clear()
            value = Simple("OK")
    return [encode(value, session.protocol)]


def _entries(requests: list[SlowRequest]) -> Iterator[Reply]:
    yield array_header(len(requests))
    for request in requests:
        yield encode(list(request))


@command(
    "LATENCY",
    -2,
    "Returns how long requests take to execute (HISTOGRAM [command ...]).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("command", "string", is_optional=True),
    ),
)
def latency(session: Session, arguments: list[bytes]) -> Replies:
    """Answer the histograms; there are no events of latency, which Redis's others ask for."""
    value: Value
    match _LATENCY.parse(session, arguments), *arguments[1:]:
        case (b"HELP",):
            return _LATENCY.help()
        case b"HISTOGRAM", *names:
            chosen = {name.decode("ascii", "replace").lower() for name in names}
            return _histograms(
                [
                    each
                    for name, each in session.server.statistics.commands.items()
                    if each.calls and (name in chosen or not chosen)
                ],
                session.protocol,
            )
        case (b"LATEST",) | (b"HISTORY", _):
            value = []
        case b"RESET", *_:
            value = 0
        case _:
            value = "No events are monitored here: see LATENCY HISTOGRAM and SLOWLOG GET.\n"
    return [encode(value, session.protocol)]


def _histograms(commands: list[CommandStatistics], protocol: int) -> Iterator[Reply]:
    yield map_header(len(commands), protocol)
    for each in commands:
        yield encode(each.name) + encode(_histogram(each), protocol)


def _histogram(statistics: CommandStatistics) -> dict[str, Value]:
    """Return the calls and, by upper bounds in microseconds, how many took no longer."""
    total = 0
    bounds: dict[int, int] = {}
    for number, count in enumerate(statistics.latencies):
        total += count
        if count:
            bounds[1 << number] = total
    return {"calls": total, "histogram_usec": bounds}
