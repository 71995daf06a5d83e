"""The client: Fibonacci numbers as Python ints, or as bytes in any format.

All that callers see of the library is here, in one place, which makes this file longer than
others; what is done is elsewhere (`requester`, `pool`, `prefix_cache`).
"""

import builtins
import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple, Self

from fibclient.cancellation import Cancellation
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.errors import ClientClosed, ServerMisbehaved
from fibclient.prefix_cache import PrefixCache
from fibclient.statistics import ClientStatistics, EndpointStatistics
from fibclient.transport.attempts import RetryPolicy
from fibclient.transport.pool import ConnectionPool, PoolOptions
from fibclient.transport.requester import STREAM_BUFFER_BYTES, Requester
from fibclient.transport.resolver import resolve as system_resolve
from fibclient.transport.retry import Backoff, RetryBudget
from fibcommon.addresses import DEFAULT_ADDRESS, Address, ResolvedAddress, parse_addresses
from fibcommon.formats import decode_binary
from fibcommon.info import parse_information

__all__ = ["FibClient", "Limits"]

DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 366 * 86_400.0
"""Beyond some centuries the system's waits overflow; this is long enough."""

MAP_CALLS_PER_CONNECTION = 4
"""So many wait in the queue of `map`: enough to keep all connections busy, and none for so long
that its time is over before its turn."""

RETRY_BACKOFF = Backoff(base_seconds=0.05, cap_seconds=2.0)


class Limits(NamedTuple):
    """What a server answers at the most.

    Attributes:
        max_index: the largest n that a request may touch.
        max_answer_bytes: the size of one answer.
    """

    max_index: int
    max_answer_bytes: int


class FibClient:
    """A client of one or several servers; its methods may be called from any thread.

    A call runs on the thread that makes it, with a connection that it borrows; those of
    `submit` and `map` wait in a queue for one of the client's own threads, each of which opens a
    connection when it starts. All of them wait in one line where too many are under way.

    Every call raises `ValueError` for arguments that no server could take, and of the
    `FibError` family: `RequestRefused` if the server says no, `ServerUnreachable` if there is
    no answer to be had, `DeadlineExceeded` (one of these) if there was too little time,
    `ServerMisbehaved` if the answer makes no sense, `ClientClosed` after `close`, `CallCancelled`
    after `cancel` of a `Cancellation` that it was given.

    A client may be used after `fork`: the child connects anew, with an empty cache.
    """

    def __init__(
        self,
        servers: str = DEFAULT_ADDRESS,
        *,
        max_connections: int = 16,
        timeout_seconds: float = 60.0,
        connect_timeout_seconds: float | None = None,
        idle_timeout_seconds: float | None = None,
        max_retries: int = 8,
        max_connection_age_seconds: float = 600.0,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        password: str | None = None,
        resolve: Callable[[Address], list[ResolvedAddress]] = system_resolve,
    ) -> None:
        """Describe a client; it connects when it is first used.

        Args:
            servers: their addresses, `HOST:PORT`, `unix:/path` or `srv:NAME`, with commas between
                them. Of a host's name all its addresses are used, of the SRV records of a name
                (which need dnspython) those of the first priority.
            max_connections: how many requests may be under way at a time, >= 1; more wait.
            timeout_seconds: for a whole call: waiting, connecting, all tries, and the last byte of
                the answer, the look-up of a host's name included. A stream may take this long for
                each next piece.
            connect_timeout_seconds: for opening a connection; by default 5, or a third of
                `timeout_seconds` if that is less.
            idle_timeout_seconds: for each wait for more bytes; by default 15, or a third likewise,
                so that a call has the time to ask another server.
            max_retries: for one call, >= 0. Refusals other than BUSY, NOSPACE and SHUTDOWN are
                never tried again.
            max_connection_age_seconds: how long a connection is used, up to a quarter less.
            cache_bytes: how much of the first numbers is kept in memory, all formats together;
                0 for nothing.
            password: of the servers.
            resolve: tells where an address leads to; for those who do not use the system's
                resolver.

        Raises:
            ValueError: an argument is out of its range.
            RuntimeError: gevent or eventlet has replaced the socket module.
        """
        _refuse_patched_sockets()
        for name, value, least in [
            ("max_connections", max_connections, 1),
            ("max_retries", max_retries, 0),
            ("cache_bytes", cache_bytes, 0),
        ]:
            if value < least:
                raise ValueError(f"{name} is {value}, it must be at least {least}")
        if connect_timeout_seconds is None:
            connect_timeout_seconds = min(5.0, timeout_seconds / 3)
        if idle_timeout_seconds is None:
            idle_timeout_seconds = min(15.0, timeout_seconds / 3)
        for name, seconds in [
            ("timeout_seconds", timeout_seconds),
            ("connect_timeout_seconds", connect_timeout_seconds),
            ("idle_timeout_seconds", idle_timeout_seconds),
            ("max_connection_age_seconds", max_connection_age_seconds),
        ]:
            if not 0 < seconds <= MAX_SECONDS:
                raise ValueError(f"{name} is {seconds}, it must be more than 0, up to a year")
        options = PoolOptions(
            max_connections,
            connect_timeout_seconds,
            idle_timeout_seconds,
            max_connection_age_seconds,
            password,
        )
        self._pool = ConnectionPool(parse_addresses(servers), options, resolve)
        self._cache = PrefixCache(cache_bytes)
        self._timeout = timeout_seconds
        self._max_retries = max_retries
        self._max_threads = max_connections
        self._start()
        _clients.add(self)
        weakref.finalize(self, self._pool.abandon).atexit = False

    def _start(self) -> None:
        self._policy = RetryPolicy(self._max_retries, RETRY_BACKOFF, RetryBudget(time.monotonic()))
        self._requester = Requester(self._pool, self._policy)
        self._threads = ThreadPoolExecutor(self._max_threads, "fibclient", self._pool.warm_up)

    def first(self, n: int) -> list[int]:
        """Return the first n numbers, F(0) to F(n-1)."""
        return self._first(self._deadline(), n)

    def range(self, start: int, stop: int) -> list[int]:
        """Return the numbers F(start) to F(stop-1)."""
        return self._range(self._deadline(), start, stop)

    def number(self, n: int) -> int:
        """Return F(n)."""
        return self._number(self._deadline(), n)

    def read(
        self,
        start: int,
        stop: int,
        format: str,
        *,
        parts: int = 1,
        cancellation: Cancellation | None = None,
    ) -> bytes:
        """Return F(start) to F(stop-1) encoded in a format.

        Args:
            start: >= 0.
            stop: >= start.
            format: `json`, `text`, `csv`, `ndjson`, `bfile` or `binary`.
            parts: how many connections fetch it side by side, >= 1; worth it for large answers
                and several servers. More than one bypass the cache.
            cancellation: ends the call when it is cancelled, wherever it waits.
        """
        if parts < 1:
            raise ValueError(f"parts is {parts}, it must be at least 1")
        answer = EncodedSlice.of(start, stop, format)
        if parts == 1 or not answer.size:
            return self._read(self._deadline(), start, stop, format, cancellation)
        return self._gather(answer, parts, cancellation)

    def stream(
        self,
        start: int,
        stop: int,
        format: str,
        *,
        begin: int = 0,
        end: int | None = None,
        cancellation: Cancellation | None = None,
    ) -> Generator[memoryview, None, None]:
        """Yield F(start) to F(stop-1) encoded in a format, piece by piece, in bounded memory.

        Each piece is a view that is right only until the next one is asked for. The connection
        is held meanwhile: a stream that is not read to its end is to be closed.

        Args:
            start: >= 0.
            stop: >= start.
            format: as in `read`.
            begin: the byte of the answer to begin with: how many there are already.
            end: the byte to end before; by default that behind the last.
            cancellation: as in `read`; a stream that nobody reads on is still to be closed.
        """
        answer = EncodedSlice.of(start, stop, format)
        end = answer.size if end is None else end
        if not 0 <= begin <= end <= answer.size:
            raise ValueError(
                f"bytes {begin} to {end}: 0 <= begin <= end <= {answer.size} must hold"
            )
        return self._stream(answer, begin, end, cancellation)

    def cached(self, answer: EncodedSlice, begin: int, end: int) -> list[memoryview] | None:
        """Return some bytes of an answer from the cache alone; None if it lacks any of them.

        Args:
            answer: as `EncodedSlice.of` has it.
            begin: 0 <= begin <= end.
            end: <= the answer's size.
        """
        views = self._cache.peek(answer, begin, end)
        return views if sum(map(len, views)) == end - begin else None

    def size(self, start: int, stop: int, format: str) -> int:
        """Return how many bytes `read` would; computed here, without a server."""
        return EncodedSlice.of(start, stop, format).size

    def ping(self) -> None:
        """Make a round trip to a server; return if it answers."""
        self._ping(self._deadline())

    def info(self, section: str = "default") -> dict[str, str]:
        """Return facts and figures of a server by name, as its INFO command has them.

        Args:
            section: such as `server` or `all`.
        """
        sections = parse_information(self.info_text(section))
        return {name: value for values in sections.values() for name, value in values.items()}

    def info_text(self, section: str = "default") -> str:
        """Return the text of a server's INFO command: `name:value` lines in sections.

        Args:
            section: such as `server` or `all`; empty is the text for one that is not known.
        """
        text = self._requester.call(self._deadline(), "INFO", section)
        if not isinstance(text, bytes):
            raise ServerMisbehaved(f"INFO was answered with {text!r:.64}")
        return text.decode("utf-8", "replace")

    def limits(self) -> Limits:
        """Return what a server answers at the most."""
        words = ("CONFIG", "GET", "max_index", "max_answer_bytes")
        reply = self._requester.call(self._deadline(), *words)
        pairs = [each for each in reply if isinstance(each, bytes)] if type(reply) is list else []
        values = dict(zip(pairs[::2], pairs[1::2], strict=False))
        try:
            return Limits(int(values[b"max_index"]), int(values[b"max_answer_bytes"]))
        except (KeyError, ValueError) as error:
            raise ServerMisbehaved(f"CONFIG GET was answered with {reply!r:.64}") from error

    def submit(self, method: str, *arguments: Any) -> "Future[Any]":
        """Queue a call for the client's own threads.

        Args:
            method: `first`, `range`, `number`, `read` or `ping`.
            arguments: as the method takes them.

        Returns:
            what the method returns or raises, when it does. Its time starts now.
        """
        return self._submit(_operation(method), self, self._deadline(), *arguments)

    def map(self, method: str, *iterables: Iterable[Any]) -> Iterator[Any]:
        """Make many calls side by side, and yield their results in order.

        A few more calls than there are connections are in the queue at a time.

        Args:
            method: as in `submit`.
            iterables: of each argument.
        """
        _operation(method)  # a method that is none is told at once
        return self._map(method, zip(*iterables, strict=True))

    def stats(self) -> ClientStatistics:
        """Return what this client has done so far, and how its servers are."""
        return ClientStatistics(
            *self._pool.load(),
            self._pool.connections_opened,
            self._policy.retries,
            self._policy.hedges,
            self._cache.statistics(),
            tuple(map(EndpointStatistics.of, self._pool.endpoints())),
        )

    def close(self) -> None:
        """Close all connections; calls under way, in other threads, raise `ClientClosed`."""
        self._pool.close()
        self._cache.close()
        # One of these threads may be what calls this, when a future is done: it cannot wait for
        # itself. What is in the queue still runs, and raises at once.
        with suppress(RuntimeError):
            self._threads.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _range(self, deadline: float, start: int, stop: int) -> list[int]:
        data = self._read(deadline, start, stop, "binary")
        try:
            numbers = decode_binary(data)
        except ValueError as error:
            raise ServerMisbehaved(str(error)) from error
        if len(numbers) != stop - start:
            raise ServerMisbehaved(f"{len(numbers)} numbers came for {start} to {stop}")
        return numbers

    def _first(self, deadline: float, n: int) -> list[int]:
        return self._range(deadline, 0, n)

    def _number(self, deadline: float, n: int) -> int:
        return self._range(deadline, n, n + 1)[0]

    def _read(
        self,
        deadline: float,
        start: int,
        stop: int,
        format: str,
        cancellation: Cancellation | None = None,
    ) -> bytes:
        answer = EncodedSlice.of(start, stop, format)
        if not answer.size:
            return b""
        fetch = partial(self._requester.fetch, deadline, cancellation)
        cached = self._cache.read(answer, deadline, fetch, cancellation)
        return fetch(answer) if cached is None else cached

    def _gather(
        self, answer: EncodedSlice, parts: int, cancellation: Cancellation | None
    ) -> bytes:
        """Return an answer whose parts come side by side."""
        deadline = self._deadline()
        # A refusal is to be heard before room is made.
        words = ("FIB.SIZE", answer.start, answer.stop, "FORMAT", answer.format.name)
        self._requester.call(deadline, *words, cancellation=cancellation)
        buffer = BytesIO(bytes(answer.size))
        fetch, calls = self._requester.fetch_into, []
        with buffer.getbuffer() as view:
            for part in answer.parts(parts):
                begin = answer.offset(part.start)
                end = begin + part.size
                behind = answer.format.separator[: answer.size - end]
                view[end : end + len(behind)] = behind
                arguments = (deadline, cancellation, part, view[begin:end])
                calls.append(self._submit(fetch, *arguments))
            try:
                done, _ = wait(calls, return_when=FIRST_EXCEPTION)
                for call in done:
                    call.result()
            finally:
                for call in calls:
                    call.cancel()
        return buffer.getvalue()

    def _map(self, method: str, arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        calls: deque[Future[Any]] = deque()
        try:
            for each in arguments:
                calls.append(self.submit(method, *each))
                if len(calls) >= MAP_CALLS_PER_CONNECTION * self._max_threads:
                    yield calls.popleft().result()
            while calls:
                yield calls.popleft().result()
        finally:
            for call in calls:
                call.cancel()

    def _stream(
        self, answer: EncodedSlice, begin: int, end: int, cancellation: Cancellation | None
    ) -> Generator[memoryview, None, None]:
        for view in self._cache.peek(answer, begin, end):
            for position in builtins.range(0, len(view), STREAM_BUFFER_BYTES):
                yield view[position : position + STREAM_BUFFER_BYTES]
            begin += len(view)
        if begin == end:
            return
        yield from self._requester.stream(self._timeout, cancellation, answer, begin, end)

    def _ping(self, deadline: float) -> None:
        reply = self._requester.call(deadline, "PING")
        if reply != "PONG":
            raise ServerMisbehaved(f"PING was answered with {reply!r:.64}")

    def _submit(self, operation: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        try:
            return self._threads.submit(operation, *arguments)
        except RuntimeError as error:
            if self._pool.is_closed:
                raise ClientClosed("the client is closed") from error
        # The interpreter is ending, so there are no more threads: this one has the time.
        return _completed(operation, *arguments)

    def _after_fork(self) -> None:
        was_closed = self._pool.is_closed
        self._pool.after_fork()
        self._cache.reset()
        self._start()
        if was_closed:
            self.close()


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "first": FibClient._first,
    "range": FibClient._range,
    "number": FibClient._number,
    "read": FibClient._read,
    "ping": FibClient._ping,
}

_clients: "weakref.WeakSet[FibClient]" = weakref.WeakSet()


def _operation(method: str) -> Callable[..., Any]:
    operation = _OPERATIONS.get(method)
    if operation is None:
        known = ", ".join(_OPERATIONS)
        raise ValueError(f"method {method!r}: it must be one of {known}")
    return operation


def _completed(operation: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """Run a call; return a future that has its result or its exception."""
    future: Future[Any] = Future()
    try:
        future.set_result(operation(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def _refuse_patched_sockets() -> None:
    """Refuse to work with sockets that ignore the time limits which the kernel enforces."""
    library = socket.socket.__module__.partition(".")[0]
    if library in ("gevent", "eventlet"):
        raise RuntimeError(
            f"fibclient cannot be used where {library} has replaced the socket module: deadlines "
            "would not hold; use it in a process that is not patched, such as a threaded worker"
        )


def _renew_clients() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_renew_clients)
