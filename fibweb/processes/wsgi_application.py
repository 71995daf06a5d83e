"""WSGI application of the service, for servers other than fibweb's own.

    server ──> WsgiApplication ──> WsgiProcess ──> application ──> fibservers, blocking
                    │ one per process, created by         │
                    │ its first request                   └── counted, timed, logged
                    └── shared by processes forked after the import: settings, metrics

Servers import the application before or after they fork, and uWSGI does not run Python's fork
hooks. So the import creates nothing that does not survive a fork, and each request compares the
process id.
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

from fibcommon.service.admission import affordable_connections
from fibcommon.service.errors import SettingsError
from fibcommon.service.logs import configure_logging
from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import FETCH, FetchRequest, run_now
from fibweb.http.mounting import mount_path
from fibweb.processes.composition import compose
from fibweb.resources.background_refresh import Refresher
from fibweb.settings import WebSettings, servers_password
from fibweb.stats.access_log import AccessLog
from fibweb.stats.access_record import AccessRecord, RequestIds
from fibweb.stats.metric_values import MetricValues
from fibweb.stats.process_metrics import gather, process_values
from fibweb.stats.row_claims import RowClaims
from fibweb.stats.shared_stats import SharedStats

__all__ = ["WsgiApplication"]

log = logging.getLogger(__name__)

MAX_PROCESSES = 64
"""Number of processes whose metrics are added up; each further one reports only its own."""

RESERVED_DESCRIPTORS = 256
"""Part of the limit of open files that is reserved for clients, logs and modules."""

BLOCK_BYTES = 256 * 1024
"""Size of the blocks of a file: a piece of a mebibyte takes four calls, and little memory."""

IGNORED_SETTINGS = (
    *("listen", "processes", "threads", "max_clients", "max_output_bytes"),
    *("drain_timeout", "root_path"),
)
"""Settings of fibweb's own server; other servers have their own."""

StartResponse = Callable[..., Any]
Environ = dict[str, Any]


class WsgiApplication:
    """WSGI application that a server imports; for any number of processes and threads."""

    def __init__(self, settings: WebSettings) -> None:
        """Check the settings, and create the memory that the processes share.

        Args:
            settings: Settings of fibweb; those of its own server are ignored.

        Raises:
            SettingsError: A setting requires fibweb's own server, or uWSGI has threads disabled.
        """
        _check(settings)
        self._settings = settings
        self._password = servers_password(settings)
        if not logging.getLogger().handlers:  # else the server has configured logging
            configure_logging(settings.log_level, settings.log_format)
        for line in settings.variable_warnings():
            log.warning("%s", line)
        ignored = [name for name in IGNORED_SETTINGS if name in settings.given]
        if ignored:
            log.warning("ignoring settings of fibweb's own server: %s", ", ".join(ignored))
        self._stats = SharedStats(MAX_PROCESSES)
        self._claims = RowClaims(MAX_PROCESSES)
        self._lock = threading.Lock()
        self._lock_pid = os.getpid()
        self._process: WsgiProcess | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request, as specified by PEP 3333."""
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._start_process()
        return process.respond(environ, start_response)

    def close(self) -> None:
        """Stop the threads and close the connections of this process; optional."""
        if self._process is not None and self._process.pid == os.getpid():
            self._process.close()

    def _start_process(self) -> "WsgiProcess":
        pid = os.getpid()
        if self._lock_pid != pid:  # a thread of the parent may have held it during the fork
            self._lock, self._lock_pid = threading.Lock(), pid
        with self._lock:
            if self._process is None or self._process.pid != pid:
                self._process = WsgiProcess(
                    self._settings, self._password, self._stats, self._claims
                )
            return self._process


def _check(settings: WebSettings) -> None:
    """Raise SettingsError for settings that cannot work under another server."""
    lines = []
    if settings.embedded:
        lines.append(
            "embedded: 'true': only fibweb's own server can start a fibserver: run one, and set "
            "servers to its address"
        )
    if settings.metrics_listen:
        lines.append(
            f"metrics_listen: {settings.metrics_listen!r}: only fibweb's own server can "
            "listen there: unset it, and restrict access to /metrics in your server"
        )
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not {"enable-threads", "threads"} & uwsgi.opt.keys():
        lines.append("uWSGI: threads of applications are disabled: set its option enable-threads")
    if lines:
        raise SettingsError("\n".join(lines))


class WsgiProcess:
    """Service in one process.

    Attributes:
        pid: Id of the process.
    """

    def __init__(
        self, settings: WebSettings, password: str | None, stats: SharedStats, claims: RowClaims
    ) -> None:
        """Create the clients and threads; call this in the process that serves.

        Args:
            settings: Settings of the service.
            password: Password of the fibservers.
            stats: Shared statistics of all processes.
            claims: Ownership of the rows of `stats`.
        """
        self.pid = os.getpid()
        row = claims.claim()
        if row is None:
            log.warning(
                "more than %s processes: /metrics of this process covers itself alone",
                MAX_PROCESSES,
            )
            stats, claims, row = SharedStats(1), RowClaims(1), 0
        self._stats, self._claims, self._slot = stats, claims, row
        self._inherited = MetricValues.decode(self._stats.read(self._slot)).counters
        self._lock = threading.Lock()  # for the counters and the shared statistics
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
                settings.max_connections, RESERVED_DESCRIPTORS, "max_connections"
            ),
        )
        self._app, self._counts = composition.app, composition.counts
        self._client = composition.client
        refresher = Refresher("figures", [self._publish])
        refresher.start()
        self._stack.callback(refresher.stop)

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self._stack.close()

    def respond(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request, as specified by PEP 3333."""
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
        record = request.access_record(body_bytes)
        self._access_log.write(record)
        with self._lock:
            self._in_flight -= 1
            self._counts.record(record._replace(target=request.path))

    def _gather(self) -> MetricValues:
        """Publish the metrics of this process, and return those of all processes."""
        self._publish()
        return gather(self._stats)

    def _publish(self) -> None:
        with self._lock:
            metrics = process_values(self._counts, self._client)
            metrics = metrics.plus(
                MetricValues(self._inherited, {("in_flight",): self._in_flight})
            )
            self._stats.write(self._slot, metrics.encode())
            self._retire_dead()

    def _retire_dead(self) -> None:
        """Remove the gauges of processes that have ended; keep their counters."""
        for row in range(self._claims.rows):
            if row == self._slot or not self._stats.read(row):
                continue
            with self._claims.held(row) as is_held:
                dead = MetricValues.decode(self._stats.read(row))
                if is_held and dead.gauges:
                    self._stats.write(row, MetricValues(dead.counters, {}).encode())


class _Request:
    """Request in flight.

    Attributes:
        id: Identifies the request in errors and in the log.
        path: Path without the prefix, percent-encoded again.
    """

    def __init__(self, environ: Environ, request_id: str) -> None:
        self.id = request_id
        self.path = quote(environ.get("PATH_INFO", "").encode("latin-1", "replace"))
        self._environ = environ
        self._began = time.monotonic()
        self._handling = "inline"
        self._status = 500
        self._media_type = ""

    def fetch(self, fetch: FetchRequest) -> Any:
        """Run a fetch on the current thread; applications may block under other servers."""
        self._handling = "threaded"
        return run_now(fetch)

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Record the status and the media type of the response."""
        self._status = int(status[:3])
        types = [value for name, value in headers if name.lower() == "content-type"]
        self._media_type = types[0] if types else ""

    def access_record(self, body_bytes: int) -> AccessRecord:
        """Return the access record, at the end of the response."""
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
    """Body that counts its bytes, and reports the count when the server closes it."""

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
        """Close the body; servers call this once in any case (PEP 3333)."""
        if self._close is not None:
            self._close()
        self._on_close(self._sent)


def _file_blocks(file: DocumentFile, _: int) -> Iterator[bytes]:
    """Yield the bytes of a file; replaces the server's `wsgi.file_wrapper`.

    Those of servers are made for files with a descriptor, and read others in blocks of 8 KiB.
    """
    try:
        while block := file.read(BLOCK_BYTES):
            yield block
    finally:
        file.close()
