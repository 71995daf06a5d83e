"""`/limits`: the largest response of the fibservers, for programs that plan their requests."""

import json

import falcon

from fibcommon.formats import FORMATS
from fibweb.content.fetch_request import FETCH, run_now
from fibweb.http.representations import MEDIA_TYPES
from fibweb.resources.problems import check_without_tag
from fibweb.resources.server_limits import ServerLimits

__all__ = ["LimitsResource"]


class LimitsResource:
    """`/limits`: the limits on one response, and the largest N of `/fib/{n}` in each format."""

    def __init__(self, limits: ServerLimits) -> None:
        """Create the resource.

        Args:
            limits: Limits of the fibservers.
        """
        self._limits = limits

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with the limits, which change with the settings of the fibservers."""
        limits = self._limits.current(request.env.get(FETCH, run_now))
        check_without_tag(request.env)
        largest = {name: limits.largest_n(FORMATS[name]) for name in MEDIA_TYPES}
        response.set_header("Cache-Control", "no-cache")
        response.content_type = falcon.MEDIA_JSON
        response.data = json.dumps({**limits._asdict(), "largest_n": largest}).encode()
