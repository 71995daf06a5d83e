"""Arguments of FIB.* commands: numbers and options, also in error messages."""

from fibcommon.bounds import not_a_number
from fibserver.protocol.reply_encoding import CommandError
from fibserver.protocol.request_parser import printable

__all__ = ["options", "whole_number"]


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
        raise CommandError(not_a_number(name, printable(text)))
    return int(text)


def options(arguments: list[bytes], *names: bytes, expected: str) -> dict[bytes, bytes]:
    """Return the values of options by name.

    Args:
        arguments: Names and values in turn.
        names: The possible names, in capitals.
        expected: What is possible, for the message.

    Raises:
        CommandError: A name is unknown or repeated, or a value is missing.
    """
    values = {}
    for position in range(0, len(arguments), 2):
        match arguments[position : position + 2]:
            case name, _ if name.upper() in values:
                found = printable(name)
                raise CommandError(f"syntax error: {found} is given twice: give it once")
            case name, value if name.upper() in names:
                values[name.upper()] = value
            case _:
                found = " ".join(map(printable, arguments[position : position + 3]))
                raise CommandError(f"syntax error: expected {expected}, not {found}")
    return values
