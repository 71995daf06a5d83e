"""FIB.* commands on F(n) for n < 10^1000: digits, remainders and indices; and the limits.

They need no elements: the acceptor computes them, in short steps or within `LOOP_SECONDS`.
What would take longer by prediction is a task for a worker.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from fibcommon import costs
from fibcommon.bounds import DIGIT_COUNT, INDEX, MODULUS, OutOfBounds
from fibcommon.digits import list_count
from fibcommon.formats import FORMATS
from fibcommon.indices import first_index_with_digits, position, zeckendorf
from fibcommon.modular import reduced_index
from fibserver.commands.arguments import options, whole_number
from fibserver.commands.session import Session
from fibserver.commands.table import Argument, Replies, command
from fibserver.compute.expressions import evaluate
from fibserver.protocol.reply_encoding import (
    Calculation,
    CommandError,
    Reply,
    Value,
    array_header,
    encode,
    map_header,
)
from fibserver.protocol.request_parser import printable

__all__ = ["DEFAULT_DIGITS"]

DEFAULT_DIGITS = 20
"""How many of the first and last digits FIB.DIGITS returns."""

INDICES_PER_STEP = 256
"""Indices of a Zeckendorf sum that are computed or encoded in about 0.1 ms."""

_DIGITS_FIELDS = b"".join(encode(name) + b"$%d\r\n%b\r\n" for name in ("digits", "first", "last"))
"""The pairs of a reply to FIB.DIGITS. With COUNT there may be 1,000 replies in one, which `encode`
would need 8 ms for."""

_GROUP = "number"


@command(
    "FIB.DIGITS",
    -2,
    "Returns the number of decimal digits of F(n), the first and the last ones; or an array with "
    "those of consecutive numbers.",
    _GROUP,
    (
        Argument("n"),
        Argument("first", token="FIRST", is_optional=True),
        Argument("last", token="LAST", is_optional=True),
        Argument("count", token="COUNT", is_optional=True),
    ),
)
def digits_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the number of digits and some of them; no step needs F(n)."""
    n = whole_number(arguments[0], "n")
    values = options(
        arguments[1:], b"FIRST", b"LAST", b"COUNT", expected="FIRST k, LAST k or COUNT c"
    )
    first, last = (
        whole_number(values[name], name.decode()) if name in values else DEFAULT_DIGITS
        for name in (b"FIRST", b"LAST")
    )
    with _bounds_checked():
        INDEX.check("n", n)
        DIGIT_COUNT.check("FIRST", first)
        DIGIT_COUNT.check("LAST", last)
    header = map_header(3, session.protocol)

    def encoded(value: bytes) -> bytes:
        digit_count, head, tail = value.split(b" ")
        return header + _DIGITS_FIELDS % (
            len(digit_count),
            digit_count,
            len(head),
            head,
            len(tail),
            tail,
        )

    if b"COUNT" not in values:
        expression = b"digits %d %d %d" % (n, first, last)
        return [_evaluated(expression, costs.digits_seconds(n, first, last), encoded)]

    count = whole_number(values[b"COUNT"], "COUNT")
    with _bounds_checked():
        list_count(n, first, last).check("COUNT", count)
        INDEX.check("the last index", n + max(count - 1, 0))

    def encoded_list(value: bytes) -> bytes:
        return array_header(count) + b"".join(map(encoded, value.splitlines()))

    expression = b"list %d %d %d %d" % (n, count, first, last)
    seconds = costs.listed_digits_seconds(n, count, first, last)
    return [_evaluated(expression, seconds, encoded_list)]


@command(
    "FIB.MOD",
    3,
    "Returns the remainder of F(n) divided by m.",
    _GROUP,
    (Argument("n"), Argument("m")),
    is_immutable=True,
)
def mod(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return F(n) mod m as a bulk string."""
    n, modulus = whole_number(arguments[0], "n"), whole_number(arguments[1], "m")
    with _bounds_checked():
        INDEX.check("n", n)
        MODULUS.check("m", modulus)
    n = reduced_index(n, modulus)
    return [_evaluated(b"mod %d %d" % (n, modulus), costs.modular_seconds(n, modulus), encode)]


@command(
    "FIB.INDEX",
    -2,
    "Returns the index of a Fibonacci number, its neighbours' and its Zeckendorf sum; or the "
    "first index whose number has some number of digits.",
    _GROUP,
    (
        Argument("number", is_optional=True),
        Argument("digits", token="DIGITS", is_optional=True),
    ),
)
def index(session: Session, arguments: list[bytes]) -> Replies:
    """Return where a number is among the Fibonacci numbers, or a first index as a bulk string."""
    match arguments:
        case (number,):
            return _index(session.protocol, whole_number(number, "the number"))
        case token, count if token.upper() == b"DIGITS":
            length = whole_number(count, "the number of digits")
            with _bounds_checked():
                return [encode(str(first_index_with_digits(length)))]
    found = " ".join(map(printable, arguments[:3]))
    raise CommandError(f"syntax error: expected a number, or DIGITS and a number, not {found}")


@command(
    "FIB.LIMITS",
    1,
    "Returns the limits on requests, and the largest N of FIB.FIRST in each format.",
    _GROUP,
)
def limits(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the settings that limit replies, and what follows from them."""
    found = session.server.settings.limits
    value: dict[str, Value] = {
        **found._asdict(),
        "largest_n": {name: found.largest_n(format) for name, format in FORMATS.items()},
    }
    return [encode(value, session.protocol)]


def _index(protocol: int, value: int) -> Iterator[Reply]:
    """Return the reply to FIB.INDEX in steps, which a long Zeckendorf sum needs."""
    with _bounds_checked():
        place, terms = position(value), zeckendorf(value)
    fields: dict[str, Value] = {
        "indices": place.indices,
        "below": place.below,
        "above": place.above,
    }
    header = map_header(len(fields) + 1, protocol)
    header += b"".join(encode(key) + encode(field, protocol) for key, field in fields.items())
    return _with_indices(header + encode("zeckendorf"), terms)


def _with_indices(header: bytes, indices: Iterator[int]) -> Iterator[Reply]:
    """Yield a header and an array of indices."""
    steps = []
    while step := list(islice(indices, INDICES_PER_STEP)):
        steps.append(step)
        yield b""
    yield header + array_header(sum(map(len, steps)))
    for step in steps:
        yield b"".join(map(encode, step))


def _evaluated(expression: bytes, seconds: float, encoded: Callable[[bytes], bytes]) -> Reply:
    """Return the reply with the value of an expression, now if that takes no time."""
    if seconds > costs.LOOP_SECONDS:
        return Calculation(expression, seconds, encoded)
    return encoded(evaluate(expression))


@contextmanager
def _bounds_checked() -> Iterator[None]:
    """Turn an argument out of bounds into an error reply."""
    try:
        yield
    except OutOfBounds as error:
        raise CommandError(str(error), "LIMIT" if error.is_too_large else "ERR") from error
