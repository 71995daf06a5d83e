"""Numbers among the arguments of FIB.* commands, and in their error messages."""

from fibserver.protocol.reply_encoding import CommandError
from fibserver.protocol.request_parser import printable

__all__ = ["shortened", "whole_number"]


def whole_number(text: bytes, name: str) -> int:
    """Return the number that an argument consists of.

    redis-benchmark pads its random numbers with zeros, so these are accepted. The size limit of a
    request keeps the quadratic `int` fast.

    Args:
        text: The argument.
        name: Name of the argument, for the message.

    Raises:
        CommandError: The argument has other bytes than decimal digits.
    """
    if not text.isdigit():
        raise CommandError(f"{name} must be a non-negative decimal integer, not {printable(text)}")
    return int(text)


def shortened(n: int) -> str:
    """Return a number for a message; of a long one, the beginning and the number of digits."""
    digits = str(n)
    return digits if len(digits) <= 40 else f"{digits[:20]}... of {len(digits)} digits"
