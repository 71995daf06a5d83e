"""Expected replies, computed by plain additions without code of the product."""

import hashlib
from collections.abc import Callable, Iterator
from decimal import MAX_EMAX, MAX_PREC, Context, Decimal, localcontext
from functools import cache

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX)

ENCODERS: dict[str, Callable[[int, str, bytes], bytes]] = {
    "array": lambda n, digits, magnitude: f"${len(digits)}\r\n{digits}\r\n".encode(),
    "json": lambda n, digits, magnitude: f'"{digits}",'.encode(),
    "text": lambda n, digits, magnitude: f"{digits}\n".encode(),
    "csv": lambda n, digits, magnitude: f"{n},{digits}\n".encode(),
    "ndjson": lambda n, digits, magnitude: f'{{"n":{n},"value":"{digits}"}}\n'.encode(),
    "bfile": lambda n, digits, magnitude: f"{n} {digits}\n".encode(),
    "binary": lambda n, digits, magnitude: len(magnitude).to_bytes(4, "little") + magnitude,
}
"""Element n of each format, from n, F(n) in decimal and F(n) in bytes."""


def walk(start: int, stop: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield n, F(n) in decimal and F(n) in bytes, little-endian, by additions alone."""
    value, next_value = 0, 1
    decimal, next_decimal = Decimal(0), Decimal(1)
    for n in range(stop):
        if n >= start:
            yield n, str(decimal), value.to_bytes((value.bit_length() + 7) // 8, "little")
        value, next_value = next_value, value + next_value
        decimal, next_decimal = next_decimal, EXACT.add(decimal, next_decimal)


def fibonacci_text(n: int) -> str:
    """Return F(n) in decimal, by fast doubling."""
    this, following = Decimal(0), Decimal(1)
    with localcontext(EXACT):
        for bit in f"{n:b}":
            this, following = (
                this * (2 * following - this),
                this * this + following * following,
            )
            if bit == "1":
                this, following = following, this + following
    return str(this)


def digits(start: int, stop: int) -> list[str]:
    """Return F(start) to F(stop-1) in decimal."""
    return [decimal for _, decimal, _ in walk(start, stop)]


def fibonacci(start: int, stop: int) -> list[int]:
    """Return F(start) to F(stop-1) as ints."""
    return [int.from_bytes(magnitude, "little") for _, _, magnitude in walk(start, stop)]


def encoded(format: str, start: int, stop: int) -> list[bytes]:
    """Return elements start to stop-1 of a format."""
    return [ENCODERS[format](*number) for number in walk(start, stop)]


@cache
def expected(format: str, start: int, stop: int) -> bytes:
    """Return elements start to stop-1 of a slice, without a separator at the end."""
    elements = b"".join(encoded(format, start, stop))
    return elements.removesuffix(b",") if format == "json" else elements


def reply(format: str, start: int, stop: int) -> bytes:
    """Return the reply to FIB.RANGE as sent."""
    elements = expected(format, start, stop)
    if format == "array":
        return b"*%d\r\n%b" % (stop - start, elements)
    return b"$%d\r\n%b\r\n" % (len(elements), elements)


@cache
def digest_of_first(n: int) -> str:
    """Return the digest of the first n numbers as json, computed by plain additions."""
    digest = hashlib.sha256()
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for index in range(n):
            separator = "," if index else ""
            digest.update(f'{separator}"{current}"'.encode())
            current, following = following, current + following
    return digest.hexdigest()
