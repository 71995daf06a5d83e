"""What answers must be, computed the slow and plain way."""

import functools
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, Context, Decimal, localcontext

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX)


@functools.cache
def digits(stop: int) -> list[str]:
    """Return F(0) to F(stop-1) in decimal, by addition."""
    with localcontext(_EXACT):
        a, b = Decimal(0), Decimal(1)
        numbers = []
        for _ in range(stop):
            numbers.append(str(a))
            a, b = b, a + b
    return numbers


def _binary(n: int, number: str) -> bytes:
    value = int(number)
    size = (value.bit_length() + 7) // 8
    return size.to_bytes(4, "little") + value.to_bytes(size, "little")


_ELEMENTS: dict[str, Callable[[int, str], bytes]] = {
    "json": lambda n, number: b'"%b",' % number.encode(),
    "text": lambda n, number: b"%b\n" % number.encode(),
    "csv": lambda n, number: b"%d,%b\n" % (n, number.encode()),
    "ndjson": lambda n, number: b'{"n":%d,"value":"%b"}\n' % (n, number.encode()),
    "bfile": lambda n, number: b"%d %b\n" % (n, number.encode()),
    "binary": _binary,
}


def expected(start: int, stop: int, format: str) -> bytes:
    """Return what `FibClient.read` must return."""
    element = _ELEMENTS[format]
    numbers = digits(stop)
    answer = b"".join(element(n, numbers[n]) for n in range(start, stop))
    return answer[:-1] if format == "json" else answer
