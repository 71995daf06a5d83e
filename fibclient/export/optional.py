"""Optional dependencies of exports, and the error for exports that are impossible."""

from importlib import import_module
from typing import Any

from fibcommon.extras import extra

__all__ = ["ExportError", "optional"]


class ExportError(Exception):
    """The export is impossible as requested: change its arguments, or install what is missing."""


def optional(module: str, extra_name: str, user: str) -> Any:
    """Import and return a module of an optional dependency.

    Args:
        module: Name of the module; its first part is the name of the distribution.
        extra_name: Extra of fibservice that installs it.
        user: What needs it, for the error message.

    Raises:
        MissingExtra: The module is not installed.
    """
    with extra(user, extra_name, module.partition(".")[0]):
        return import_module(module)
