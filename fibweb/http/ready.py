"""The ready lane: a request goes through the application, here and now.

The application runs to its end before the first byte is sent. So whatever goes wrong is answered
with a whole error, and a request that turns out to have to wait is run again where it may: the
ask lane does the same, on a thread.
"""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import InternalServerError

from fibweb.answer_file import AnswerFile, MustWait
from fibweb.http.exchange import Exchange
from fibweb.http.replay import http_date, is_replayable
from fibweb.http.request import Request
from fibweb.http.response import Response

if TYPE_CHECKING:
    from fibweb.http.channel import Channel

__all__ = ["respond"]

log = logging.getLogger(__name__)

FAILURE = "The server encountered an unexpected internal server error"


def respond(channel: "Channel", request: Request, *, may_wait: bool) -> Response:
    """Return the answer to a request.

    Args:
        channel: the connection that it came on.
        request: the request, whole.
        may_wait: whether the application may ask a fibserver.

    Raises:
        MustWait: it would have to, and may not.
    """
    method, target = request.method, request.target
    if not request.error:
        try:
            return _run(ApplicationTask(channel, request, may_wait=may_wait), method, target)
        except Exception as error:
            if isinstance(error, MustWait) and not may_wait:
                raise
            log.exception("request %s, %s %.1000r, failed", request.id, method, target)
            request.error = InternalServerError(FAILURE)
    failed: Any = request
    return _run(FailureTask(channel, failed), method, target)


class ApplicationTask(WSGITask):
    """A request for the application."""

    request: Any

    def __init__(self, channel: "Channel", request: Any, *, may_wait: bool) -> None:
        super().__init__(channel, request)
        self._may_wait = may_wait

    def get_environment(self) -> dict[str, Any]:
        """Return the environment: the application is told whether it may wait."""
        environ: dict[str, Any] = super().get_environment()
        environ["fibweb.may_wait"] = self._may_wait
        environ["fibweb.request_id"] = self.request.id
        return environ

    def build_response_header(self) -> bytes:
        """Return the header: the same bytes as waitress makes, which takes three times as long."""
        fields = {_capitalised(name): value for name, value in self.response_headers}
        is_usual = (
            self.version == "1.1"
            and not self.close_on_finish
            and self.request.headers.get("CONNECTION", "").lower() != "close"
            and self.has_body
            and "Content-Length" in fields
            and "Date" not in fields
            and "Server" not in fields
            and len(fields) == len(self.response_headers)
        )
        if not is_usual:
            return super().build_response_header()
        self.response_headers = list(fields.items())
        fields["Server"] = self.channel.server.adj.ident
        fields["Date"] = http_date(int(self.start_time)).decode("ascii")
        lines = "\r\n".join([f"{name}: {fields[name]}" for name in sorted(fields)])
        return f"HTTP/1.1 {self.status}\r\n{lines}\r\n\r\n".encode("latin-1")


class FailureTask(ErrorTask):
    """A request that cannot be answered; the client can tell us which it was."""

    request: Any

    def execute(self) -> None:
        """Write the answer."""
        self.response_headers = [("X-Request-ID", self.request.id)]
        super().execute()


@lru_cache(maxsize=1024)
def _capitalised(name: str) -> str:
    return "-".join([part.capitalize() for part in name.split("-")])


def _run(task: Task, method: str, target: str) -> Response:
    """Have waitress make an answer, and return it instead of sending it."""
    channel: Channel = task.channel  # type: ignore[assignment]
    request: Request = task.request  # type: ignore[assignment]
    if channel.lanes.is_draining:
        task.set_close_on_finish()
    written = channel.written = []
    task.service()
    header, *pieces = written
    file = None
    if pieces and isinstance(pieces[-1], ReadOnlyFileBasedBuffer):
        file = pieces.pop().file
    if file is not None and not isinstance(file, AnswerFile):
        pieces.append(file.read())
        file.close()
        file = None
    headers = dict(task.response_headers)
    status = int(task.status[:3])
    own_id = request.id if request.headers.get("X_REQUEST_ID") == request.id else ""
    exchange = Exchange(
        method,
        target,
        status,
        0,
        0.0,
        channel.addr[0],
        request.headers.get("USER_AGENT", ""),
        own_id,
        "",
        headers.get("Content-Type", ""),
    )
    is_constant = request.body_rcv is None and is_replayable(
        method, status, headers.get("Cache-Control", "")
    )
    return Response(exchange, header, b"".join(pieces), file, task.close_on_finish, is_constant)
