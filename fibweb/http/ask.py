"""The ask lane: what has to wait for a fibserver, and so is done by a thread.

A thread only finds out: it runs the application, or fetches a segment, and what comes of it goes
back to the event loop, which alone touches connections. So no thread is held by a slow reader.
"""

import logging
from typing import TYPE_CHECKING

from fibclient import FibError
from fibweb.answer_file import AnswerFile
from fibweb.http.plain import PlainRequest
from fibweb.http.ready import respond
from fibweb.http.request import Request

if TYPE_CHECKING:
    from fibweb.http.channel import Channel

__all__ = ["Ask", "Load"]

log = logging.getLogger(__name__)


class Ask:
    """A request for the application, which may wait."""

    def __init__(self, channel: "Channel", request: Request | PlainRequest) -> None:
        """Describe what is to be done.

        Args:
            channel: the connection that the request came on.
            request: the request.
        """
        self._channel = channel
        self._request = request

    def service(self) -> None:
        """Do it; waitress calls this on a thread."""
        response = respond(self._channel, self._request, may_wait=True)
        self._channel.server.loop.hand_over(lambda: self._channel.begin(response))

    def cancel(self) -> None:
        """Leave it: the server ends, and closes all connections."""


class Load:
    """The next segment of an answer."""

    def __init__(self, channel: "Channel", file: AnswerFile) -> None:
        """Describe what is to be done.

        Args:
            channel: the connection that waits for it.
            file: the answer.
        """
        self._channel = channel
        self._file = file

    def service(self) -> None:
        """Do it; waitress calls this on a thread."""
        then = self._channel.go_on
        try:
            self._file.load()
        except FibError as error:
            log.warning("an answer is broken off: %s", error)
            then = self._channel.break_off
        except Exception:
            log.exception("an answer is broken off")
            then = self._channel.break_off
        self._channel.server.loop.hand_over(then)

    def cancel(self) -> None:
        """Leave it: the server ends, and closes all connections."""
