"""The service as a WSGI application, for servers other than fibweb's own.

    server ──> WsgiApplication ──> WsgiProcess ──> application ──> fibservers, blocking
                    │ one for each process, made          │
                    │ by its first request                └── counted, timed, logged
                    └── shared by processes forked after the import: settings, figures

Servers import the application before or after they fork, and uWSGI forks without notice to
Python. So nothing is created at the import that does not survive a fork, and each request
compares the process's id.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import quote

import psutil

from fibcommon.service.admission import affordable_connections
from fibcommon.service.errors import SettingsError
from fibcommon.service.logs import configure_logging
from fibweb.content.answer_file import AnswerFile
from fibweb.content.fetch import Fetch, run_now
from fibweb.http.mounting import mount_path
from fibweb.processes.composition import compose
from fibweb.resources.remembered import FETCH, Refresher
from fibweb.settings import Settings, servers_password
from fibweb.stats.access_log import AccessLog
from fibweb.stats.access_record import AccessRecord, RequestIds
from fibweb.stats.metric_values import MetricValues
from fibweb.stats.process_metrics import gather, process_figures
from fibweb.stats.row_claims import RowClaims
from fibweb.stats.shared_stats import SharedStats

__all__ = ["WsgiApplication"]

log = logging.getLogger(__name__)

MAX_PROCESSES = 64
"""Whose figures are added up; further ones report their own."""

DESCRIPTORS_OF_THE_SERVER = 256
"""Left of the limit of open files for clients, logs and modules."""

BLOCK_BYTES = 256 * 1024
"""Passed to the server at a time: a mebibyte of pieces costs four calls, and little memory."""

OF_THE_SERVER = (
    *("listen", "processes", "threads", "max_clients", "max_output_bytes"),
    *("drain_timeout", "root_path"),
)
"""Settings of fibweb's own server, for which another has its own."""

StartResponse = Callable[..., Any]
Environ = dict[str, Any]


class WsgiApplication:
    """The application that a server imports; for any number of processes and threads."""

    def __init__(self, settings: Settings) -> None:
        """Check the settings, and prepare what processes share.

        Args:
            settings: those of fibweb; the ones of its own server are not used.

        Raises:
            SettingsError: a setting cannot work under another server, or uWSGI runs no threads.
        """
        _check(settings)
        self._settings = settings
        self._password = servers_password(settings)
        if not logging.getLogger().handlers:  # else whoever runs us has decided on that
            configure_logging(settings.log_level, settings.log_format)
        ignored = [name for name in OF_THE_SERVER if name in settings.model_fields_set]
        if ignored:
            log.warning("settings that only fibweb's own server uses: %s", ", ".join(ignored))
        self._board = SharedStats(MAX_PROCESSES)
        self._claims = RowClaims(MAX_PROCESSES)
        self._lock = threading.Lock()
        self._lock_pid = os.getpid()
        self._process: WsgiProcess | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._start_process()
        return process.respond(environ, start_response)

    def close(self) -> None:
        """End the threads and close the connections of this process; servers need not."""
        if self._process is not None and self._process.pid == os.getpid():
            self._process.close()

    def _start_process(self) -> "WsgiProcess":
        pid = os.getpid()
        if self._lock_pid != pid:  # another thread of the parent may have held it at the fork
            self._lock, self._lock_pid = threading.Lock(), pid
        with self._lock:
            if self._process is None or self._process.pid != pid:
                self._process = WsgiProcess(
                    self._settings, self._password, self._board, self._claims
                )
            return self._process


def _check(settings: Settings) -> None:
    """Raise SettingsError for what cannot work under another server."""
    lines = []
    if settings.embedded:
        lines.append("embedded: 'true': only fibweb's own server can; run fibserver, set servers")
    if settings.metrics_listen:
        lines.append(
            f"metrics_listen: {settings.metrics_listen!r}: only fibweb's own server listens; "
            "unset it, and restrict /metrics in the server"
        )
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not {"enable-threads", "threads"} & uwsgi.opt.keys():
        lines.append("uWSGI runs no threads of applications: set its enable-threads")
    if lines:
        raise SettingsError("\n".join(lines))


class WsgiProcess:
    """The service in one process, until that ends.

    Attributes:
        pid: of the process.
    """

    def __init__(
        self, settings: Settings, password: str | None, board: SharedStats, claims: RowClaims
    ) -> None:
        """Create clients and threads, in the process that answers.

        Args:
            settings: of the service.
            password: of the fibservers.
            board: for the figures of all processes.
            claims: on the rows of the board.
        """
        self.pid = os.getpid()
        row = claims.claim()
        if row is None:
            log.warning(
                "more than %s processes: /metrics of this one has its own figures alone",
                MAX_PROCESSES,
            )
            board, claims, row = SharedStats(1), RowClaims(1), 0
        self._board, self._claims, self._row = board, claims, row
        self._inherited = MetricValues.decode(self._board.read(self._row)).counters
        self._process = psutil.Process()
        self._lock = threading.Lock()  # for the counts and the board
        self._in_flight = 0
        self._request_ids = RequestIds()
        self._access_log = AccessLog()
        self._access_log.configure(is_on=settings.access_log, format=settings.log_format)
        servers = ",".join(settings.servers)
        self._stack = ExitStack()
        composition = compose(
            settings,
            servers,
            password,
            self._gather,
            self._stack,
            max_connections=affordable_connections(
                settings.max_connections, DESCRIPTORS_OF_THE_SERVER, "max_connections"
            ),
        )
        self._app, self._counts = composition.app, composition.counts
        self._client = composition.client
        refresher = Refresher("figures", [self._publish])
        refresher.start()
        self._stack.callback(refresher.stop)

    def close(self) -> None:
        """End the threads and close the connections."""
        self._stack.close()

    def respond(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        request = _Request(environ, self._request_ids.choose(environ.get("HTTP_X_REQUEST_ID", "")))
        own = {
            FETCH: request.fetch,
            "fibweb.request_id": request.id,
            "wsgi.file_wrapper": _file_blocks,
        }

        def start(status: str, headers: list[tuple[str, str]], *exception: Any) -> Any:
            request.start(status, headers)
            return start_response(status, headers, *exception)

        with self._lock:
            self._in_flight += 1
        body = self._app(environ | own, start)
        if isinstance(body, list):
            self._finish(request, sum(map(len, body)))
            return body
        return _CountedBody(body, partial(self._finish, request))

    def _finish(self, request: "_Request", body_bytes: int) -> None:
        exchange = request.exchange(body_bytes)
        self._access_log.write(exchange)
        with self._lock:
            self._in_flight -= 1
            self._counts.record(exchange._replace(target=request.path))

    def _gather(self) -> MetricValues:
        """Publish the figures of this process, and return those of all."""
        self._publish()
        return gather(self._board)

    def _publish(self) -> None:
        with self._lock:
            figures = process_figures(self._counts, self._client, self._process)
            figures = figures.plus(
                MetricValues(self._inherited, {("in_flight",): self._in_flight})
            )
            self._board.write(self._row, figures.encode())
            self._retire_dead()

    def _retire_dead(self) -> None:
        """Drop the gauges of processes that have ended; what they counted remains."""
        for row in range(self._claims.rows):
            if row == self._row or not self._board.read(row):
                continue
            with self._claims.held(row) as is_held:
                dead = MetricValues.decode(self._board.read(row))
                if is_held and dead.gauges:
                    self._board.write(row, MetricValues(dead.counters, {}).encode())


class _Request:
    """A request while it is answered.

    Attributes:
        id: identifies it in errors and in the log.
        path: below the prefix, as the client wrote it or an equivalent spelling.
    """

    def __init__(self, environ: Environ, request_id: str) -> None:
        self.id = request_id
        self.path = quote(environ.get("PATH_INFO", "").encode("latin-1", "replace"))
        self._environ = environ
        self._began = time.monotonic()
        self._handling = "inline"
        self._status = 500
        self._media_type = ""

    def fetch(self, fetch: Fetch) -> Any:
        """Run a fetch; under other servers applications may block."""
        self._handling = "threaded"
        return run_now(fetch)

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Take note of a response's status and headers."""
        self._status = int(status[:3])
        types = [value for name, value in headers if name.lower() == "content-type"]
        self._media_type = types[0] if types else ""

    def exchange(self, body_bytes: int) -> AccessRecord:
        """Return the record of the request, whose response is over."""
        environ = self._environ
        query = environ.get("QUERY_STRING", "")
        return AccessRecord(
            environ["REQUEST_METHOD"],
            mount_path(environ) + self.path + (f"?{query}" if query else ""),
            self._status,
            body_bytes,
            time.monotonic() - self._began,
            environ.get("REMOTE_ADDR", ""),
            environ.get("HTTP_USER_AGENT", ""),
            self.id,
            self._handling,
            self._media_type,
        )


class _CountedBody:
    """A body that counts its bytes, and reports them when the server closes it."""

    def __init__(self, body: Iterable[bytes], on_close: Callable[[int], None]) -> None:
        self._blocks = iter(body)
        self._close = getattr(body, "close", None)
        self._on_close = on_close
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self._sent += len(block)
        return block

    def close(self) -> None:
        """Close the body; PEP 3333 has servers call this once, whatever happened."""
        if self._close is not None:
            self._close()
        self._on_close(self._sent)


def _file_blocks(file: AnswerFile, _: int) -> Iterator[bytes]:
    """Yield the bytes of a file; in place of the server's `wsgi.file_wrapper`.

    What servers have there is for files of the kernel, and reads others in blocks of 8 KiB.
    """
    try:
        while block := file.read(BLOCK_BYTES):
            yield block
    finally:
        file.close()
