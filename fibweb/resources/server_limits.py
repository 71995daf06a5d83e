"""Limits of the fibservers, checked for slices that are fetched in pieces.

A fibserver checks each request, but never receives one for the whole of such a slice. So fibweb
checks the whole slice before it sends the first byte.
"""

from collections.abc import Callable
from typing import Any

from fibclient import EncodedSlice, FibClient, Limits, RequestRefused
from fibweb.content.fetch_request import FetchRequest
from fibweb.resources.background_refresh import Expiry

__all__ = ["ServerLimits"]


class ServerLimits:
    """The largest index and slice size that fibservers accept. Thread-safe."""

    def __init__(self, client: FibClient) -> None:
        """Start without limits; they are read when first needed.

        Args:
            client: Client for the fibservers.
        """
        self._client = client
        self._limits: Limits | None = None
        self._expiry = Expiry("limits", self._read)

    def _read(self) -> None:
        self._limits = self._client.limits()

    def refresh(self) -> None:
        """Read the limits from a fibserver.

        Raises:
            FibError: No fibserver replied.
        """
        self._expiry.refresh()

    def check(self, slice_: EncodedSlice, fetch: Callable[[FetchRequest], Any]) -> None:
        """Raise `RequestRefused` if a slice exceeds the limits.

        Args:
            slice_: Slice to fetch in pieces.
            fetch: Runs the fetch of the limits, if they have expired.

        Raises:
            RequestRefused: The slice is too large; the message is that of a fibserver.
        """
        self._expiry.ensure_fresh(fetch)
        assert self._limits is not None, "ensure() reads them"
        last, limits = slice_.stop - 1, self._limits
        if last > limits.max_index:
            raise RequestRefused(
                f"LIMIT the answer would reach F({last}), max_index is {limits.max_index}"
            )
        if slice_.size > limits.max_answer_bytes:
            raise RequestRefused(
                f"LIMIT the answer would be {slice_.size} bytes, "
                f"max_answer_bytes is {limits.max_answer_bytes}"
            )
