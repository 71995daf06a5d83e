"""A request, as waitress parses it, with what this server has to know of it besides."""

import logging
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import BadRequest

if TYPE_CHECKING:
    from fibweb.http.channel import Channel

__all__ = ["Request"]

log = logging.getLogger(__name__)

UNKNOWN = "-"
"""The method and the target of a request that is too broken to tell."""


class Request(HTTPRequestParser):
    """A request, as far as it has arrived.

    Attributes:
        id: what to call it in errors and in the log; empty until it is answered.
    """

    command: Any
    headers: dict[str, str]
    request_uri: str
    path: str

    def __init__(self, adj: Adjustments) -> None:
        """Begin to parse.

        Args:
            adj: waitress's settings.
        """
        super().__init__(adj)
        self.id = ""
        self._template: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """Such as GET."""
        return UNKNOWN if self.error else self.command

    @property
    def target(self) -> str:
        """As the request line has it, query included."""
        return UNKNOWN if self.error else self.request_uri

    @property
    def user_agent(self) -> str:
        """As the client names itself, or empty."""
        return self.headers.get("USER_AGENT", "")

    @property
    def proposed_id(self) -> str:
        """As the client names the request, or empty."""
        return self.headers.get("X_REQUEST_ID", "")

    @property
    def has_body(self) -> bool:
        """Whether the headers announced a body, if only an empty one."""
        return self.body_rcv is not None

    @property
    def is_usual(self) -> bool:
        """Whether it is a GET or HEAD without a body, and the connection goes on behind it."""
        is_reading = not self.error and self.command in ("GET", "HEAD") and not self.has_body
        return is_reading and self.version == "1.1" and not self.connection_close

    def parsed(self, adj: Adjustments) -> "Request":
        """Return the request as waitress has it: this one."""
        return self

    def environ(self, channel: "Channel") -> dict[str, Any]:
        """Return a fresh environment for the application.

        Args:
            channel: the connection that the request came on.
        """
        own = {"fibweb.fetch": channel.fetch, "fibweb.request_id": self.id}
        return self.template(channel) | own

    def received(self, data: bytes) -> int:
        """Parse some bytes; whatever the parser cannot make sense of is a bad request.

        Waitress lets some errors of what it calls escape, such as those of `urlsplit` and `int`.

        Returns:
            how many of them belong to this request.
        """
        try:
            consumed: int = super().received(data)
        except Exception as error:
            log.info("bad request: %s: %.100s", type(error).__name__, error)
            self.error = BadRequest("the request cannot be parsed")
            self.completed = True
            self.connection_close = True
            return len(data)
        return consumed

    def template(self, channel: "Channel") -> dict[str, Any]:
        """Return what waitress makes of the request, which is not to be changed.

        Args:
            channel: the connection that the request came on.
        """
        if self._template is None:
            request: Any = self
            self._template = WSGITask(channel, request).get_environment()
        return self._template
