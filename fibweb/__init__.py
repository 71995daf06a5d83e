"""REST service for Fibonacci numbers, in front of fibserver."""

from typing import TYPE_CHECKING, Any

from fibcommon import __version__
from fibcommon.extras import extra

if TYPE_CHECKING:
    from fibweb.app import create_app

__all__ = ["PACKAGES", "__version__", "create_app"]

PACKAGES = (
    "click",
    "falcon",
    "prometheus-client",
    "psutil",
    "rcssmin",
    "rjsmin",
    "waitress",
)
"""Distributions in the extra `web`."""


def __getattr__(name: str) -> Any:
    # Imported on demand, for an error that names the extra, and a version without it.
    if name == "create_app":
        with extra("fibweb", "web", *PACKAGES):
            from fibweb.app import create_app

            return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
