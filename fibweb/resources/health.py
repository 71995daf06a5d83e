"""Health checks: `/healthz` (liveness) and `/readyz` (readiness)."""

import falcon

from fibclient import FibClient, FibError, RequestRefused
from fibweb.content.fetch_request import FETCH, run_now
from fibweb.resources.background_refresh import Expiry
from fibweb.resources.problems import check_without_tag, rejection_remedy, unavailable

__all__ = ["LivenessResource", "ReadinessResource"]


CHECKS = (
    "; check that fibserver runs (`systemctl status fibserver`) and that the setting servers is "
    "its address; `fibclient --server ADDRESS doctor` finds the cause"
)
"""What an operator can check if no fibserver can be reached, to append to the error."""


class LivenessResource:
    """`/healthz`: responds as long as the process runs, without waiting for anything."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with `alive`."""
        _respond(request, response, "alive")


class ReadinessResource:
    """`/readyz`: whether a fibserver replied in time to the last ping, about a second ago."""

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client with its own connection and a short timeout. With the main client, busy
                connections would make the process look unready.
        """
        self._client = client
        self._error = ""
        self._expiry = Expiry("readiness", self._ping)

    def _ping(self) -> None:
        try:
            self._client.ping()
        except FibError as error:
            remedy = rejection_remedy(error) if isinstance(error, RequestRefused) else CHECKS
            self._error = f"{error}{remedy}"
        else:
            self._error = ""

    def refresh(self) -> None:
        """Ping a fibserver and store the result."""
        self._expiry.refresh()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with `ready`, or with 503 if no fibserver replied."""
        self._expiry.ensure_fresh(request.env.get(FETCH, run_now))
        if self._error:
            raise unavailable(f"no fibserver answers: {self._error}")
        _respond(request, response, "ready")


def _respond(request: falcon.Request, response: falcon.Response, text: str) -> None:
    check_without_tag(request.env)
    response.content_type = "text/plain; charset=utf-8"
    response.cache_control = ["no-store"]
    response.data = f"{text}\n".encode()
