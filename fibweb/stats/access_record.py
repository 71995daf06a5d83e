"""What is told of an answered request, to whoever counts it or writes it into a log."""

import itertools
import os
import re
from typing import NamedTuple

__all__ = ["AccessRecord", "RequestIds"]

_FIT_FOR_A_LOG = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AccessRecord(NamedTuple):
    """One request, and how it was answered.

    Attributes:
        method: such as GET; "-" if the request was too broken to tell.
        target: as the request line has it, query included; "-" likewise.
        status: such as 200.
        body_bytes: how many of the body were sent, fewer than announced if the client went away.
        seconds: from the arrival of the request until its last byte was given to the kernel.
        client: the peer's address, without the port; "localhost" on a Unix socket.
        user_agent: as the client names itself, or empty.
        request_id: the client's own or a fresh one.
        handling: "cached", "inline" or "threaded".
        media_type: the Content-Type of the answer, or empty.
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

    def finished(
        self, body_bytes: int, seconds: float, client: str, request_id: str, handling: str
    ) -> "AccessRecord":
        """Return all that is known when the answer is over; the rest was known before."""
        return AccessRecord(
            self.method,
            self.target,
            self.status,
            body_bytes,
            seconds,
            client,
            self.user_agent,
            request_id,
            handling,
            self.media_type,
        )


class RequestIds:
    """Ids of requests: the clients' own, or fresh ones that no other process makes."""

    def __init__(self) -> None:
        """Start counting behind a number of this process's own; so make it after `fork`."""
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def choose(self, proposed: str) -> str:
        """Return the id that a client proposes, if it is fit for a log, or else a fresh one.

        Args:
            proposed: the X-Request-ID header, or empty.
        """
        is_fit = proposed and _FIT_FOR_A_LOG.fullmatch(proposed)
        return proposed if is_fit else self.fresh()

    def fresh(self) -> str:
        """Return an id that was not there before."""
        return f"{self._prefix}-{next(self._numbers):08x}"
