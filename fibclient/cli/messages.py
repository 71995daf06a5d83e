"""Messages on standard error: lines of text, or a JSON object per line with --json."""

from contextlib import suppress

import click

__all__ = ["print_error", "print_note", "print_warning", "use_json", "uses_json"]

_is_json = False
"""Whether the arguments contain --json; they may be invalid, so click cannot tell."""


def use_json(is_json: bool) -> None:
    """Choose between text and JSON.

    Args:
        is_json: Whether to print JSON objects.
    """
    global _is_json
    _is_json = is_json


def uses_json() -> bool:
    """Return whether messages are JSON objects."""
    return _is_json


def print_error(
    text: str,
    *,
    code: str,
    exit_code: int,
    server: str | None = None,
    advice: str | None = None,
) -> None:
    """Print the error that ends the command.

    Args:
        text: The error message.
        code: The first word of the server's error, such as `LIMIT`, or the kind of any other
            error: `usage`, `unreachable`, `misbehaved`, `failed`, or `system` for those of this
            machine.
        exit_code: The exit code of the command.
        server: The server, if the message does not name it.
        advice: What to do about it.
    """
    if _is_json:
        values = {"server": server} if server else {}
        values |= {"advice": advice} if advice else {}
        _print_json({"error": text, "code": code, **values, "exit_code": exit_code})
        return
    where = f"{server}: " if server else ""
    _print(f"fibclient: {where}{text}" + (f"; {advice}" if advice else ""))


def print_note(text: str) -> None:
    """Print a message about a result."""
    if _is_json:
        _print_json({"note": text})
    else:
        _print(text)


def print_warning(text: str) -> None:
    """Print a message about something that may not be meant."""
    if _is_json:
        _print_json({"warning": text})
    else:
        _print(f"fibclient: {text}")


def _print_json(values: dict[str, object]) -> None:
    import json  # a tenth of the time that a small command takes

    _print(json.dumps(values))


def _print(line: str) -> None:
    with suppress(OSError):  # nothing could report it
        click.echo(line, err=True)
