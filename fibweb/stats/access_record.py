"""Access records of requests, for metrics and the access log, and request ids."""

import itertools
import os
import re
from typing import NamedTuple

__all__ = ["AccessRecord", "RequestIds"]

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AccessRecord(NamedTuple):
    """One request and its response.

    Attributes:
        method: Such as GET; "-" if the request could not be parsed.
        target: Request target as received, with its query; "-" if it could not be parsed.
        status: Such as 200.
        body_bytes: Bytes of the body that were sent, fewer than announced if the client
            disconnected.
        seconds: Time from the arrival of the request until the kernel accepted the last byte of
            the response.
        client: Address of the peer without the port; "localhost" on a Unix socket.
        user_agent: Value of User-Agent, or empty.
        request_id: Id that the client proposed, or a new one.
        handling: "cached", "inline" or "threaded".
        media_type: Content-Type of the response, or empty.
    """

    method: str
    target: str
    status: int
    body_bytes: int
    seconds: float
    client: str
    user_agent: str
    request_id: str
    handling: str
    media_type: str = ""


class RequestIds:
    """Source of request ids that are unique among all processes."""

    def __init__(self) -> None:
        """Choose a random prefix. Call this after `fork`, so that each process has its own."""
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def choose(self, proposed: str) -> str:
        """Return the id that the client proposed, if it is valid, else a new one.

        Args:
            proposed: Value of X-Request-ID, or empty.
        """
        return proposed if proposed and _VALID_ID.fullmatch(proposed) else self.fresh()

    def fresh(self) -> str:
        """Return a new id."""
        return f"{self._prefix}-{next(self._numbers):08x}"
