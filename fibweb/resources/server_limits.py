"""Limits of the fibservers, checked for slices that are fetched in pieces, or were rejected.

A fibserver checks each request, but never receives one for the whole of a slice that is fetched in
pieces. So fibweb checks such a slice before it sends the first byte.
"""

from collections.abc import Callable
from typing import Any

from fibclient import EncodedSlice, FibClient, Limits
from fibcommon.limits import TooLarge
from fibweb.content.fetch_request import FetchRequest
from fibweb.resources.background_refresh import Expiry
from fibweb.resources.problems import too_large

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

    @property
    def max_index(self) -> int | None:
        """The largest index that fibservers accept; None before the limits were read."""
        return self._limits.max_index if self._limits else None

    def current(self, fetch: Callable[[FetchRequest], Any]) -> Limits:
        """Return the limits.

        Args:
            fetch: Runs the fetch of the limits, if they have expired.

        Raises:
            FibError: They have expired, and no fibserver replied.
        """
        self._expiry.ensure_fresh(fetch)
        assert self._limits is not None, "ensure_fresh() reads them"
        return self._limits

    def check(self, slice_: EncodedSlice, fetch: Callable[[FetchRequest], Any]) -> None:
        """Raise `Problem` if a slice exceeds the limits.

        Args:
            slice_: Slice of the response.
            fetch: As in `current`.
        """
        limits = self.current(fetch)
        try:
            limits.check_index(slice_.format, slice_.start, slice_.stop)
            limits.check_size(slice_.format, slice_.start, slice_.size)
        except TooLarge as error:
            raise too_large(error, slice_.stop - 1) from error
