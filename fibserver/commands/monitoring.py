"""SLOWLOG and LATENCY commands: slow requests and latency histograms."""

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
        b"DOCTOR": Subcommand(1, "", ("Return a hint to the other latency reports.",)),
        b"HISTOGRAM": Subcommand(
            -1,
            "[<command> ...]",
            (
                "Return the cumulative distribution of execution times of the given commands,",
                "or of all commands.",
            ),
        ),
        b"HISTORY": Subcommand(2, "<event>", ("Return an empty list: no events are recorded.",)),
        b"LATEST": Subcommand(1, "", ("Return an empty list: no events are recorded.",)),
        b"RESET": Subcommand(-1, "[<event> ...]", ("Return 0: no events are recorded.",)),
    },
)


@command(
    "SLOWLOG",
    -2,
    "Returns or clears the slow log (GET, LEN, RESET).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("count", is_optional=True),
    ),
    subcommands=_SLOWLOG,
)
def slowlog(session: Session, arguments: list[bytes]) -> Replies:
    """Return entries, the newest first, or their number, or clear the log."""
    slow_log = session.server.slow_log
    value: Value
    match arguments[0].upper(), *arguments[1:]:
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
    "Returns histograms of execution times (HISTOGRAM [command ...]).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("command", "string", is_optional=True),
    ),
    subcommands=_LATENCY,
)
def latency(session: Session, arguments: list[bytes]) -> Replies:
    """Return histograms; the other subcommands reply that no latency events are recorded."""
    value: Value
    match arguments[0].upper(), *arguments[1:]:
        case (b"HELP",):
            return _LATENCY.help()
        case b"HISTOGRAM", *names:
            chosen = {name.decode("ascii", "replace").lower() for name in names}
            return _histograms(
                [
                    statistics
                    for name, statistics in session.server.statistics.commands.items()
                    if statistics.calls and (name in chosen or not chosen)
                ],
                session.protocol,
            )
        case (b"LATEST",) | (b"HISTORY", _):
            value = []
        case b"RESET", *_:
            value = 0
        case _:
            value = "No latency events are recorded; see LATENCY HISTOGRAM and SLOWLOG GET.\n"
    return [encode(value, session.protocol)]


def _histograms(commands: list[CommandStatistics], protocol: int) -> Iterator[Reply]:
    yield map_header(len(commands), protocol)
    for statistics in commands:
        yield encode(statistics.name) + encode(_histogram(statistics), protocol)


def _histogram(statistics: CommandStatistics) -> dict[str, Value]:
    """Return the number of calls, and cumulative counts by upper bound in microseconds."""
    total = 0
    bounds: dict[int, int] = {}
    for number, count in enumerate(statistics.latencies):
        total += count
        if count:
            bounds[1 << number] = total
    return {"calls": total, "histogram_usec": bounds}
