"""Path prefixes, for an application that is mounted below the root of a site.

WSGI splits the path of a URL in two: SCRIPT_NAME is the prefix, and PATH_INFO is the rest, which
selects the route.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["mount_path", "path_below", "relative_root", "requested_path"]


def mount_path(environ: Mapping[str, Any]) -> str:
    """Return the path prefix of a request, percent-encoded and without a trailing slash.

    Args:
        environ: WSGI environ, in which each character of SCRIPT_NAME is one byte.
    """
    segments = str(environ.get("SCRIPT_NAME", "")).strip("/")
    # Exactly one leading slash: after two, a browser expects the name of a host.
    return f"/{quote(segments.encode('latin-1', 'replace'))}" if segments else ""


def path_below(root_path: str, path: str) -> str:
    """Return a path without its prefix, or unchanged if it does not have the prefix.

    Args:
        root_path: Prefix without a trailing slash; may be empty.
        path: Path of a URL.
    """
    rest = path.removeprefix(root_path)
    return rest if not rest or rest.startswith("/") else path


def requested_path(environ: Mapping[str, Any]) -> str:
    """Return the path of a request below the prefix, as sent, as far as the server tells it."""
    target = str(environ.get("REQUEST_URI") or environ.get("RAW_URI", "")).partition("?")[0]
    if not target.startswith("/"):  # missing, `*`, or with a scheme and a host
        return quote(str(environ.get("PATH_INFO", "")).encode("latin-1", "replace"))
    return path_below(mount_path(environ), target)


def relative_root(environ: Mapping[str, Any]) -> str:
    """Return the relative URL of the root of the application, such as `../` or `./`.

    Unlike a path with the prefix, it is also right if a proxy has removed a prefix.

    Args:
        environ: WSGI environ.
    """
    depth = requested_path(environ).count("/")
    if depth == 0:  # the prefix without its slash
        prefix = mount_path(environ).rpartition("/")[2]
        return f"./{prefix}/" if prefix else "./"
    return "../" * (depth - 1) or "./"
