"""FIB.* commands: slices of the Fibonacci sequence.

Limits are checked before any computation, since every size is known in advance.
"""

from fibcommon.bounds import shortened
from fibcommon.formats import FORMATS, Format
from fibcommon.limits import TooLarge
from fibcommon.sizes import value_digits
from fibserver.commands.arguments import options, whole_number
from fibserver.commands.session import Session
from fibserver.commands.table import Argument, command
from fibserver.protocol.reply_encoding import CommandError, Reply, Slice, array_header, encode
from fibserver.protocol.request_parser import printable

_ARRAY, _TEXT = FORMATS["array"], FORMATS["text"]
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
    "Returns the Fibonacci number F(n), or some of its decimal digits.",
    _GROUP,
    (
        Argument("n"),
        _FORMAT,
        Argument("from", token="FROM", is_optional=True),
        Argument("count", token="COUNT", is_optional=True),
    ),
    is_immutable=True,
)
def number(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return F(n), or digits of it, as one bulk string."""
    n = whole_number(arguments[0], "n")
    values = options(
        arguments[1:], b"FORMAT", b"FROM", b"COUNT", expected="FORMAT f, FROM a or COUNT c"
    )
    format = _format_named(values.pop(b"FORMAT", b"array"))
    if values:
        return [_digits(session, format, n, values)]
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
    _check_index(session, format, start, stop)
    return [encode(session.server.slice_size(format, start, stop))]


def _reply(session: Session, format: Format, start: int, stop: int) -> Reply:
    if start == stop:
        _check_index(session, format, start, stop)
        return array_header(0) if format is _ARRAY else encode(b"")
    if format is _ARRAY:
        return _slice(session, format, start, stop, array_header(stop - start), b"")
    bulk = _slice(session, format, start, stop, b"", b"\r\n")
    return bulk._replace(header=b"$%d\r\n" % bulk.size)


def _slice(
    session: Session, format: Format, start: int, stop: int, header: bytes, trailer: bytes
) -> Slice:
    _check_index(session, format, start, stop)
    size = session.server.slice_size(format, start, stop)
    try:
        session.server.settings.limits.check_size(format, start, size)
    except TooLarge as error:
        raise CommandError(str(error), "LIMIT") from error
    return Slice(header, format, start, stop, size, trailer)


def _check_index(session: Session, format: Format, start: int, stop: int) -> None:
    try:
        session.server.settings.limits.check_index(format, start, stop)
    except TooLarge as error:
        raise CommandError(str(error), "LIMIT") from error


def _range(arguments: list[bytes]) -> tuple[int, int]:
    start, stop = whole_number(arguments[0], "start"), whole_number(arguments[1], "stop")
    if start > stop:
        raise CommandError(
            f"start {shortened(start)} is greater than stop {shortened(stop)}: give the smaller "
            "index first"
        )
    return start, stop


def _digits(session: Session, format: Format, n: int, values: dict[bytes, bytes]) -> Reply:
    """Return decimal digits of F(n), from the one at position FROM on, COUNT of them at most."""
    if format not in (_ARRAY, _TEXT):
        raise CommandError(
            f"FROM and COUNT select decimal digits, and {format.name} has other bytes: use FORMAT "
            "text"
        )
    _check_index(session, format, n, n + 1)
    digit_count = value_digits(n)
    skip = whole_number(values.get(b"FROM", b"0"), "FROM")
    count = whole_number(values.get(b"COUNT", b"%d" % digit_count), "COUNT")
    size = min(count, digit_count - skip)
    if size <= 0:  # as GETRANGE of Redis does
        return encode(b"")
    return Slice(b"$%d\r\n" % size, _TEXT, n, n + 1, size, b"\r\n", skip)


def _format(arguments: list[bytes]) -> Format:
    expected = "FORMAT and a format's name"
    values = options(arguments, b"FORMAT", expected=expected)
    return _format_named(values.get(b"FORMAT", b"array"))


def _format_named(name: bytes) -> Format:
    format = _FORMATS.get(name) or _FORMATS.get(name.lower())
    if format is None:
        known = ", ".join(FORMATS)
        raise CommandError(f"unknown format {printable(name)}: it must be one of {known}")
    return format
