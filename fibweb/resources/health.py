"""`/healthz` and `/readyz`: whether this process is alive, and whether it is of any use."""

import falcon

from fibclient import FibClient, FibError
from fibweb.content.fetch import run_now
from fibweb.resources.problems import Problem
from fibweb.resources.remembered import FETCH, Remembered

__all__ = ["LivenessResource", "ReadinessResource"]

RETRY_AFTER_SECONDS = 1


class LivenessResource:
    """`/healthz`: the answer itself is what it tells; it waits for nothing."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer that all is well."""
        _answer(response, "alive")


class ReadinessResource:
    """`/readyz`: whether a fibserver answers in time, as of the last second or so."""

    def __init__(self, client: FibClient) -> None:
        """Describe the resource.

        Args:
            client: asks the fibservers, with its own connection and a short timeout: that all
                others are in use is no reason to be taken out of a load balancer.
        """
        self._client = client
        self._error = ""
        self._remembered = Remembered("readiness", self._ask)

    def _ask(self) -> None:
        try:
            self._client.ping()
        except FibError as error:
            self._error = str(error)
        else:
            self._error = ""

    def refresh(self) -> None:
        """Ask a fibserver."""
        self._remembered.refresh()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer what is known, or with 503."""
        self._remembered.ensure(request.env.get(FETCH, run_now))
        if self._error:
            raise Problem(
                503,
                f"no fibserver answers: {self._error}",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        _answer(response, "ready")


def _answer(response: falcon.Response, word: str) -> None:
    response.content_type = "text/plain; charset=utf-8"
    response.cache_control = ["no-store"]
    response.data = f"{word}\n".encode()
