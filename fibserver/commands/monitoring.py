"""SLOWLOG and LATENCY: which requests were slow, and how long requests take."""

from collections.abc import Iterator

from fibserver.commands.table import Argument, Replies, command
from fibserver.replies import (
    CommandError,
    Reply,
    Simple,
    Value,
    array_header,
    encode,
    map_header,
)
from fibserver.request_parser import printable
from fibserver.session import Session
from fibserver.slow_log import SlowRequest
from fibserver.statistics import CommandStatistics

_GROUP = "server"

DEFAULT_ENTRIES = 10


@command(
    "SLOWLOG",
    -2,
    "Returns the requests whose replies took long to begin (GET, LEN, RESET).",
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
    match arguments[0].upper(), *arguments[1:]:
        case (b"GET",):
            return _entries(list(slow_log.entries)[:DEFAULT_ENTRIES])
        case b"GET", b"-1":
            return _entries(list(slow_log.entries))
        case b"GET", count if count.isdigit():
            return _entries(list(slow_log.entries)[: int(count)])
        case b"GET", _:
            raise CommandError("count should be greater than or equal to -1")
        case (b"LEN",):
            value = len(slow_log.entries)
        case (b"RESET",):
            slow_log.clear()
            value = Simple("OK")
        case _:
            name = printable(arguments[0])
            raise CommandError(f"unknown subcommand {name}. Try SLOWLOG HELP.")
    return [encode(value, session.protocol)]


def _entries(requests: list[SlowRequest]) -> Iterator[Reply]:
    yield array_header(len(requests))
    for request in requests:
        yield encode(list(request))


@command(
    "LATENCY",
    -2,
    "Returns how long requests take (HISTOGRAM [command ...]).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("command", "string", is_optional=True),
    ),
)
def latency(session: Session, arguments: list[bytes]) -> Replies:
    """Answer the histograms; there are no events of latency, which Redis's others ask for."""
    value: Value
    match [word.upper() for word in arguments]:
        case [b"HISTOGRAM", *names]:
            chosen = {name.decode("ascii", "replace").lower() for name in names}
            return _histograms(
                [
                    each
                    for name, each in session.server.statistics.commands.items()
                    if each.calls and (name in chosen or not chosen)
                ],
                session.protocol,
            )
        case [b"LATEST"] | [b"HISTORY", _]:
            value = []
        case [b"RESET", *_]:
            value = 0
        case [b"DOCTOR"]:
            value = "No events are monitored here: see LATENCY HISTOGRAM and SLOWLOG GET.\n"
        case _:
            name = printable(arguments[0])
            raise CommandError(f"unknown subcommand {name}. Try LATENCY HELP.")
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
    return {"calls": statistics.calls, "histogram_usec": bounds}
