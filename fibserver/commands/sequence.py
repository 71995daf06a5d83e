"""FIB.* commands: slices of the Fibonacci sequence.

Limits are checked before any computation, since every size is known in advance.
"""

from fibcommon.formats import FORMATS, Format
from fibserver.commands.arguments import shortened, whole_number
from fibserver.commands.session import Session
from fibserver.commands.table import Argument, command
from fibserver.protocol.reply_encoding import CommandError, Reply, Slice, array_header, encode
from fibserver.protocol.request_parser import printable

_ARRAY = FORMATS["array"]
_FORMATS = {name.encode(): entry for name, entry in FORMATS.items()}
_FORMAT = Argument("format", "string", token="FORMAT", is_optional=True)
_GROUP = "sequence"


@command(
    "FIB.FIRST",
    -2,
    "Returns the first n Fibonacci numbers.",
    _GROUP,
    (Argument("n"), _FORMAT),
    is_immutable=True,
)
def first(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return F(0) to F(n-1)."""
    stop = whole_number(arguments[0], "n")
    return [_reply(session, _format(arguments[1:]), 0, stop)]


@command(
    "FIB.RANGE",
    -3,
    "Returns the Fibonacci numbers from F(start) up to, not including, F(stop).",
    _GROUP,
    (Argument("start"), Argument("stop"), _FORMAT),
    is_immutable=True,
)
def range_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return F(start) to F(stop-1)."""
    start, stop = _range(arguments)
    return [_reply(session, _format(arguments[2:]), start, stop)]


@command(
    "FIB.NUMBER",
    -2,
    "Returns the Fibonacci number F(n).",
    _GROUP,
    (Argument("n"), _FORMAT),
    is_immutable=True,
)
def number(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return F(n) as one bulk string."""
    n = whole_number(arguments[0], "n")
    format = _format(arguments[1:])
    if format is _ARRAY:
        # An element of this format is already a bulk string.
        return [_slice(session, format, n, n + 1, b"", b"")]
    return [_reply(session, format, n, n + 1)]


@command(
    "FIB.SIZE",
    -3,
    "Returns the size in bytes of the elements that FIB.RANGE would return.",
    _GROUP,
    (Argument("start"), Argument("stop"), _FORMAT),
    is_immutable=True,
)
def size(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the size of the elements without computing them."""
    start, stop = _range(arguments)
    format = _format(arguments[2:])
    _check_index(session, stop)
    return [encode(session.server.slice_size(format, start, stop))]


def _reply(session: Session, format: Format, start: int, stop: int) -> Reply:
    if start == stop:
        _check_index(session, stop)
        return array_header(0) if format is _ARRAY else encode(b"")
    if format is _ARRAY:
        return _slice(session, format, start, stop, array_header(stop - start), b"")
    bulk = _slice(session, format, start, stop, b"", b"\r\n")
    return bulk._replace(header=b"$%d\r\n" % bulk.size)


def _slice(
    session: Session, format: Format, start: int, stop: int, header: bytes, trailer: bytes
) -> Slice:
    _check_index(session, stop)
    server = session.server
    size = server.slice_size(format, start, stop)
    limit = server.settings.max_answer_bytes
    if size > limit:
        raise CommandError(
            f"the answer would be {size} bytes, max_answer_bytes is {limit}", "LIMIT"
        )
    return Slice(header, format, start, stop, size, trailer)


def _check_index(session: Session, stop: int) -> None:
    limit = session.server.settings.max_index
    if stop > limit + 1:
        raise CommandError(
            f"the answer would reach F({shortened(stop - 1)}), max_index is {limit}", "LIMIT"
        )


def _range(arguments: list[bytes]) -> tuple[int, int]:
    start, stop = whole_number(arguments[0], "start"), whole_number(arguments[1], "stop")
    if start > stop:
        raise CommandError(f"start {shortened(start)} is greater than stop {shortened(stop)}")
    return start, stop


def _format(arguments: list[bytes]) -> Format:
    if not arguments:
        return _ARRAY
    if len(arguments) != 2 or arguments[0].upper() != b"FORMAT":
        found = " ".join(map(printable, arguments[:3]))
        raise CommandError(f"syntax error: expected FORMAT and a format's name, not {found}")
    format = _FORMATS.get(arguments[1]) or _FORMATS.get(arguments[1].lower())
    if format is None:
        known = ", ".join(FORMATS)
        raise CommandError(f"unknown format {printable(arguments[1])}, it must be one of {known}")
    return format
