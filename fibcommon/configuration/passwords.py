"""Passwords: the first line of a file, since arguments and variables can be seen by others."""

from pathlib import Path

from fibcommon.configuration.text_files import read_text_file
from fibcommon.service.errors import SettingsError, reason

__all__ = ["read_password"]

MAX_PASSWORD_BYTES = 512
"""A password travels in one request; this leaves room for the user's name beside it."""


def read_password(path: Path, *, is_reload: bool = False) -> bytes:
    """Return the first line of a password file, without its end and a byte order mark.

    Args:
        path: Of the file.
        is_reload: Whether the service has started already: then the password from a pipe is the
            one that was read before.

    Raises:
        SettingsError: It cannot be read, is empty or too long, or is UTF-16.
    """
    name = f"password_file: {str(path)!r}"
    # More bytes: three for a mark, two for the end of the line, one to see an excess.
    limit = MAX_PASSWORD_BYTES + 6
    try:
        line = read_text_file(path, lambda file: file.readline(limit), is_reload=is_reload)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or UTF-16
        raise SettingsError(f"{name}: cannot be read: {reason(error)}") from error
    password = line.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(password) <= MAX_PASSWORD_BYTES:
        raise SettingsError(
            f"{name}: its first line, the password, must have 1 to {MAX_PASSWORD_BYTES} bytes"
        )
    return password
