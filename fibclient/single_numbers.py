"""Replies about digits and indices: what is known of F(n) for n < 10^1000, and the way back."""

from typing import NamedTuple

from fibclient.connections.resp import Reply
from fibclient.errors import ServerMisbehaved

__all__ = [
    "NumberDigits",
    "NumberIndex",
    "parse_digits",
    "parse_digits_list",
    "parse_index",
    "parse_number",
    "parse_text",
]


MAX_DIGITS = 1000
"""Largest size of a remainder, an index or a number of digits: all are below 10^1000."""


class NumberDigits(NamedTuple):
    """Decimal digits of F(n).

    Attributes:
        digits: How many F(n) has.
        first: The first ones.
        last: The last ones, with leading zeros.
    """

    digits: int
    first: str
    last: str


class NumberIndex(NamedTuple):
    """Where a number is among the Fibonacci numbers.

    Attributes:
        indices: Indices of the number, (1, 2) for 1; empty if it is not a Fibonacci number.
        below: Index of the largest Fibonacci number that is smaller, None for 0.
        above: Index of the smallest Fibonacci number that is larger.
        zeckendorf: Indices of the Fibonacci numbers, no two of them neighbours, whose sum is the
            number; the largest first.
    """

    indices: tuple[int, ...]
    below: int | None
    above: int
    zeckendorf: tuple[int, ...]


def parse_digits(reply: Reply) -> NumberDigits:
    """Return the fields of a reply to FIB.DIGITS.

    Raises:
        ServerMisbehaved: The reply is invalid.
    """
    match _fields(reply):
        case {b"digits": bytes(digits), b"first": bytes(first), b"last": bytes(last)} if (
            b"0" + first + last
        ).isdigit():
            count = parse_number("FIB.DIGITS", digits)
            return NumberDigits(count, first.decode(), last.decode())
    raise _invalid("FIB.DIGITS", reply)


def parse_digits_list(reply: Reply, count: int) -> list[NumberDigits]:
    """Return the digits of each number in a reply to FIB.DIGITS with COUNT.

    Args:
        reply: The reply.
        count: How many numbers there must be.

    Raises:
        ServerMisbehaved: The reply is invalid.
    """
    if not isinstance(reply, list) or len(reply) != count:
        raise _invalid("FIB.DIGITS", reply)
    return [parse_digits(item) for item in reply]


def parse_index(reply: Reply) -> NumberIndex:
    """Return the fields of a reply to FIB.INDEX.

    Raises:
        ServerMisbehaved: The reply is invalid.
    """
    match _fields(reply):
        case {
            b"indices": list(indices),
            b"below": int() | None as below,
            b"above": int(above),
            b"zeckendorf": list(zeckendorf),
        }:
            return NumberIndex(_integers(indices), below, above, _integers(zeckendorf))
    raise _invalid("FIB.INDEX", reply)


def parse_number(command: str, reply: Reply) -> int:
    """Return the number in a bulk string.

    Args:
        command: Name of the command, for the message.
        reply: Its reply.

    Raises:
        ServerMisbehaved: The reply is invalid.
    """
    if not isinstance(reply, bytes) or not reply.isdigit() or len(reply) > MAX_DIGITS:
        raise _invalid(command, reply)
    return int(reply)


def parse_text(command: str, reply: Reply, max_size: int) -> str:
    """Return the digits in a bulk string.

    Args:
        command: Name of the command, for the message.
        reply: Its reply.
        max_size: Maximum number of digits.

    Raises:
        ServerMisbehaved: The reply is invalid.
    """
    if not isinstance(reply, bytes) or not (b"0" + reply).isdigit() or len(reply) > max_size:
        raise _invalid(command, reply)
    return reply.decode()


def _fields(reply: Reply) -> dict[bytes, Reply]:
    """Return the pairs of a map, which RESP2 encodes as an array."""
    items = reply if isinstance(reply, list) else []
    keys = [key for key in items[::2] if isinstance(key, bytes)]
    return dict(zip(keys, items[1::2], strict=False))


def _integers(items: list[Reply]) -> tuple[int, ...]:
    integers = tuple(item for item in items if isinstance(item, int))
    if len(integers) != len(items):
        raise _invalid("FIB.INDEX", items)
    return integers


def _invalid(command: str, reply: Reply) -> ServerMisbehaved:
    return ServerMisbehaved(f"invalid reply to {command}: {reply!r:.64}")
