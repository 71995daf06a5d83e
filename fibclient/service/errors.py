"""What keeps a service from starting."""

__all__ = ["ListenError", "SettingsError", "reason"]


class SettingsError(Exception):
    """Settings that cannot be: one line for each, with its name, value and what is allowed."""


class ListenError(Exception):
    """An address or a socket that cannot be listened on."""


def reason(error: Exception) -> str:
    """Return why something failed, without what the caller says anyway."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
