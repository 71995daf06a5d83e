"""Limits of the fibservers, checked for answers that are fetched in pieces.

A server checks each request. An answer in pieces is never requested as a whole, so it is checked
here, before its first byte is sent.
"""

from collections.abc import Callable
from typing import Any

from fibclient import FibClient, Limits, RequestRefused
from fibclient.connections.encoded_slice import EncodedSlice
from fibweb.content.fetch import Fetch
from fibweb.resources.remembered import Remembered

__all__ = ["ServerLimits"]


class ServerLimits:
    """The largest index and answer size that fibservers accept; for any thread."""

    def __init__(self, client: FibClient) -> None:
        """Start without limits; they are read when first needed.

        Args:
            client: asks the servers.
        """
        self._client = client
        self._limits: Limits | None = None
        self._remembered = Remembered("limits", self._read)

    def _read(self) -> None:
        self._limits = self._client.limits()

    def refresh(self) -> None:
        """Read the limits from a server.

        Raises:
            FibError: none answers.
        """
        self._remembered.refresh()

    def check(self, answer: EncodedSlice, fetch: Callable[[Fetch], Any]) -> None:
        """Raise `RequestRefused` if an answer exceeds the limits.

        Args:
            answer: to be fetched in pieces.
            fetch: runs a fetch, if the limits have to be read first.

        Raises:
            RequestRefused: it is too large, in the words of a server.
        """
        self._remembered.ensure(fetch)
        assert self._limits is not None, "they have been read"
        last, limits = answer.stop - 1, self._limits
        if last > limits.max_index:
            raise RequestRefused(
                f"LIMIT the answer would reach F({last}), max_index is {limits.max_index}"
            )
        if answer.size > limits.max_answer_bytes:
            raise RequestRefused(
                f"LIMIT the answer would be {answer.size} bytes, "
                f"max_answer_bytes is {limits.max_answer_bytes}"
            )
