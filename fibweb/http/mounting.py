"""Path prefixes: where the application is mounted below the root of a site.

WSGI splits the path of a URL in two: SCRIPT_NAME is the prefix, and PATH_INFO the rest, by which
requests are routed.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["mount_path", "path_below"]


def mount_path(environ: Mapping[str, Any]) -> str:
    """Return the prefix of a request's URL, percent-encoded and without a slash at its end.

    Args:
        environ: of WSGI, in which each character of SCRIPT_NAME is a byte.
    """
    segments = str(environ.get("SCRIPT_NAME", "")).strip("/")
    # Exactly one slash in front: a URL that begins with two names another host.
    return f"/{quote(segments.encode('latin-1', 'replace'))}" if segments else ""


def path_below(root_path: str, path: str) -> str:
    """Return a path without the prefix, or as it is if it does not begin with it.

    Args:
        root_path: the prefix, without a slash at its end; may be empty.
        path: of a URL.
    """
    rest = path.removeprefix(root_path)
    return rest if not rest or rest.startswith("/") else path
