"""`/healthz` and `/readyz`: whether this process is alive, and whether it is of any use."""

import falcon

from fibclient import FibClient, FibError
from fibweb.answer_file import MustWait
from fibweb.problems import Problem

__all__ = ["Alive", "Ready"]

RETRY_AFTER_SECONDS = 1


class Alive:
    """`/healthz`: the answer itself is what it tells; it waits for nothing."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer that all is well."""
        _answer(response, "alive")


class Ready:
    """`/readyz`: whether a fibserver answers in time."""

    def __init__(self, client: FibClient) -> None:
        """Describe the resource.

        Args:
            client: asks the fibservers, with its own connections and a short timeout: that all
                others are in use is no reason to be taken out of a load balancer.
        """
        self._client = client

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer after a round trip to a fibserver, or with 503."""
        if not request.env.get("fibweb.may_wait", True):
            raise MustWait
        try:
            self._client.ping()
        except FibError as error:
            raise Problem(
                503,
                f"no fibserver answers: {error}",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from error
        _answer(response, "ready")


def _answer(response: falcon.Response, word: str) -> None:
    response.content_type = "text/plain; charset=utf-8"
    response.cache_control = ["no-store"]
    response.data = f"{word}\n".encode()
