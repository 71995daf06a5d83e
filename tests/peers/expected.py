"""What a server must answer, by plain addition: no code of the product is used."""

from collections.abc import Callable

_ELEMENTS: dict[str, Callable[[int, int], bytes]] = {
    "array": lambda n, value: b"$%d\r\n%d\r\n" % (len(str(value)), value),
    "json": lambda n, value: b'"%d",' % value,
    "text": lambda n, value: b"%d\n" % value,
    "csv": lambda n, value: b"%d,%d\n" % (n, value),
    "ndjson": lambda n, value: b'{"n":%d,"value":"%d"}\n' % (n, value),
    "bfile": lambda n, value: b"%d %d\n" % (n, value),
    "binary": lambda n, value: _with_length(value.to_bytes((value.bit_length() + 7) // 8, "little")),
}

FORMATS = tuple(_ELEMENTS)


def _with_length(magnitude: bytes) -> bytes:
    return len(magnitude).to_bytes(4, "little") + magnitude


def fibonacci(stop: int, start: int = 0) -> list[int]:
    """Return F(start) to F(stop-1)."""
    numbers = [0, 1]
    while len(numbers) < stop:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[start:stop]


def body(format: str, stop: int, start: int = 0) -> bytes:
    """Return F(start) to F(stop-1) in a format, without the framing around them."""
    element = _ELEMENTS[format]
    encoded = b"".join(element(n, v) for n, v in enumerate(fibonacci(stop, start), start))
    return encoded.removesuffix(b",") if format == "json" else encoded


def reply(format: str, stop: int, start: int = 0) -> bytes:
    """Return the reply to FIB.RANGE as it travels."""
    encoded = body(format, stop, start)
    if format == "array":
        return b"*%d\r\n" % (stop - start) + encoded
    return b"$%d\r\n%b\r\n" % (len(encoded), encoded)
