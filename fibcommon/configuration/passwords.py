"""Password files. Other users could read a password in an argument or environment variable."""

from pathlib import Path

from fibcommon.configuration.text_files import read_text_file
from fibcommon.service.errors import SettingsError, reason

__all__ = ["read_password"]

MAX_PASSWORD_BYTES = 512
"""A request contains the password; this leaves room for a user name in it."""


def read_password(path: Path, *, is_reload: bool = False) -> bytes:
    """Return the first line of a password file, without byte order mark and line ending.

    Args:
        path: Path of the file.
        is_reload: Whether the service is already running. A password that was read from a pipe at
            the start is then returned again.

    Raises:
        SettingsError: The file cannot be read or is UTF-16, or the password is empty or too long.
    """
    name = f"password_file: {str(path)!r}"
    # Additional bytes: three for the mark, two for the line ending, one to detect an excess.
    limit = MAX_PASSWORD_BYTES + 6
    try:
        line = read_text_file(path, lambda file: file.readline(limit), is_reload=is_reload)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or UTF-16
        raise SettingsError(f"{name}: cannot be read: {reason(error)}") from error
    password = line.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(password) <= MAX_PASSWORD_BYTES:
        problem = "too long" if password else "empty"
        raise SettingsError(
            f"{name}: the password, its first line, is {problem}: it must have 1 to "
            f"{MAX_PASSWORD_BYTES} bytes"
        )
    return password
