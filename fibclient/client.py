"""Public API of fibclient: Fibonacci numbers as Python ints, or as bytes in any format.

All public methods are in this file, which makes it longer than others; `requester`, `pool` and
`prefix_cache` implement them.
"""

import builtins
import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

from fibclient.call_threads import CallThreads, completed
from fibclient.cancellation import Cancellation
from fibclient.connections.encoded_slice import EncodedSlice, group_consecutive
from fibclient.errors import (
    CallCancelled,
    ClientClosed,
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from fibclient.prefix_cache import PrefixCache
from fibclient.single_numbers import (
    NumberDigits,
    NumberIndex,
    parse_digits,
    parse_digits_list,
    parse_index,
    parse_number,
    parse_text,
)
from fibclient.statistics import ClientStatistics, endpoint_statistics
from fibclient.transport.attempts import RetryPolicy
from fibclient.transport.pool import ConnectionPool, PoolOptions
from fibclient.transport.requester import STREAM_BUFFER_BYTES, Requester
from fibclient.transport.resolver import resolve as system_resolve
from fibclient.transport.retry import Backoff, RetryBudget
from fibcommon.addresses import DEFAULT_ADDRESS, Address, ResolvedAddress, parse_addresses
from fibcommon.bounds import DIGIT_COUNT, INDEX, LENGTH, MODULUS, VALUE
from fibcommon.formats import decode_binary
from fibcommon.info import parse_info
from fibcommon.limits import Limits

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["FibClient"]

DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 366 * 86_400.0
"""Longest timeout accepted, a year: the system's waits overflow beyond some centuries."""

MAP_CALLS_PER_CONNECTION = 4
"""Calls that `map` queues per connection: enough to keep all connections busy, few enough that
none times out in the queue."""

_FINAL_ERRORS = (CallCancelled, ClientClosed, DeadlineExceeded, RequestRefused)
"""Errors after which `read_many` requests nothing more."""

RETRY_BACKOFF = Backoff(base_seconds=0.05, cap_seconds=2.0)


class FibClient:
    """Thread-safe client of one or several servers.

    A call runs on the calling thread, over a pooled connection. Calls made with `submit` and
    `map` wait in a queue for one of the client's own threads, each of which opens a connection
    when it starts. Beyond `max_connections` requests, further ones wait in order of arrival.

    Calls raise `ValueError` or `TypeError` for invalid arguments, and these `FibError`s:
    `RequestRefused` if the server rejects the request, `ServerUnreachable` if no server replies,
    `DeadlineExceeded` (a subclass of it) if the timeout expires, `ServerMisbehaved` if the reply
    is invalid, `ClientClosed` after `close`, and `CallCancelled` if the call's `Cancellation` is
    cancelled.

    A client can be used after `fork`: the child opens its own connections, with an empty cache.
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
        """Create a client; it connects on first use.

        Args:
            servers: Comma-separated addresses: `HOST:PORT`, `unix:/path` or `srv:NAME`. All
                addresses of a host name are used, and of the SRV records of a name (which need
                dnspython) those with the highest priority.
            max_connections: Maximum number of concurrent requests, >= 1; further ones wait.
            timeout_seconds: Timeout of a whole call: name resolution, waiting for a connection,
                connecting, all retries, and the last byte of the reply. For a stream it applies
                to each chunk.
            connect_timeout_seconds: Timeout for opening a connection; defaults to 5, or a third
                of `timeout_seconds` if that is less.
            idle_timeout_seconds: Timeout of each wait for more bytes; defaults to 15, or a third
                of `timeout_seconds` if that is less, to leave time for another server.
            max_retries: Maximum number of retries per call, >= 0. An error reply is retried only
                if it is BUSY, NOSPACE, SHUTDOWN, or for too many clients.
            max_connection_age_seconds: Maximum age of a connection; each one expires at random in
                the last quarter of it.
            cache_bytes: Memory limit of the cache of first elements, for all formats together;
                0 disables it.
            password: Password of the servers, if they require one.
            resolve: Resolves an address, in place of the system's resolver.

        Raises:
            ValueError: An argument is invalid or out of range.
            RuntimeError: gevent or eventlet has replaced the socket module.
        """
        _check_sockets_unpatched()
        for name, value, minimum in [
            ("max_connections", max_connections, 1),
            ("max_retries", max_retries, 0),
            ("cache_bytes", cache_bytes, 0),
        ]:
            if value < minimum:
                raise ValueError(f"{name} is {value}, must be at least {minimum}")
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
                raise ValueError(f"{name} is {seconds}, must be above 0, up to a year")
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
        weakref.finalize(self, self._pool.stop_probes).atexit = False

    def _start(self) -> None:
        self._policy = RetryPolicy(self._max_retries, RETRY_BACKOFF, RetryBudget(time.monotonic()))
        self._requester = Requester(self._pool, self._policy)
        self._threads = CallThreads(self._max_threads, self._pool.warm_up)

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
        """Return F(start) to F(stop-1), encoded in `format`.

        Args:
            start: First index, >= 0.
            stop: Index to stop before, >= start.
            format: `json`, `text`, `csv`, `ndjson`, `bfile` or `binary`.
            parts: Number of connections that fetch it in parallel, >= 1; useful for large slices
                and several servers. With more than one, the cache is bypassed.
            cancellation: Ends the call when it is cancelled.
        """
        if parts < 1:
            raise ValueError(f"parts is {parts}, must be at least 1")
        slice_ = EncodedSlice.of(start, stop, format)
        if parts == 1 or not slice_.size:
            return self._read(self._deadline(), start, stop, format, cancellation)
        return self._gather(slice_, parts, cancellation)

    def read_many(
        self, slices: Sequence[EncodedSlice], *, cancellation: Cancellation | None = None
    ) -> list[bytes | FibError]:
        """Return several small slices, requested from a server in one round trip.

        Consecutive slices are requested as one, since the server then doubles only once. If it
        rejects that request, or its reply is invalid, they are read one by one. Slices that the
        cache holds, or would be extended with, are read through the cache. After a cancellation,
        an expired deadline or a repeated failure, the rest has that error.

        Args:
            slices: Slices from `EncodedSlice.of`, at most some KiB each.
            cancellation: As in `read`.

        Returns:
            For each slice its bytes, or the error that `read` would raise.
        """
        deadline = self._deadline()
        runs = group_consecutive(
            {slice_ for slice_ in slices if slice_.size and self._cache.bypasses(slice_)}
        )
        fetched: dict[EncodedSlice, bytes | FibError] = {}
        results: dict[EncodedSlice, bytes | FibError] = {}
        failed_before = False
        while missing := [run for run in runs if run not in fetched]:
            count = len(fetched)
            try:
                self._requester.fetch_many(deadline, cancellation, missing, fetched)
            except FibError as error:
                rest = [run for run in missing if run not in fetched]
                failed_twice = failed_before and len(fetched) == count
                failed_before = len(fetched) == count
                if failed_twice or isinstance(error, _FINAL_ERRORS):
                    results.update((part, error) for run in rest for part in runs[run])
                    break
                # Blame the next slice: the others may succeed.
                fetched[rest[0]] = error
        for run, reply in fetched.items():
            parts = runs[run]
            if isinstance(reply, bytes):
                results.update(zip(parts, run.split_bytes(reply, parts), strict=True))
            elif len(parts) == 1 or isinstance(reply, ServerUnreachable):
                results.update(dict.fromkeys(parts, reply))
        for slice_ in slices:
            if slice_ not in results:
                results[slice_] = self._result(deadline, slice_, cancellation)
        return [results[slice_] for slice_ in slices]

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
        """Yield F(start) to F(stop-1), encoded in `format`, chunk by chunk, in bounded memory.

        Each chunk is a view that is valid only until the next one is requested. The generator
        holds a connection: close it unless it is read to its end.

        Args:
            start: First index, >= 0.
            stop: Index to stop before, >= start.
            format: As in `read`.
            begin: First byte of the slice to yield, such as the number already received.
            end: Byte to stop before; the end of the slice by default.
            cancellation: As in `read`; a cancelled stream must still be read on or closed.
        """
        slice_ = EncodedSlice.of(start, stop, format)
        end = slice_.size if end is None else end
        if not 0 <= begin <= end <= slice_.size:
            raise ValueError(
                f"bytes {begin} to {end}: 0 <= begin <= end <= {slice_.size} must hold"
            )
        return self._stream(slice_, begin, end, cancellation)

    def cached(self, slice_: EncodedSlice, begin: int, end: int) -> list[memoryview] | None:
        """Return bytes begin to end-1 of a slice from the cache, or None if any are missing.

        Args:
            slice_: The slice, from `EncodedSlice.of`.
            begin: First byte, 0 <= begin <= end.
            end: Byte to stop before, <= the size of the slice.
        """
        views = self._cache.peek(slice_, begin, end)
        if len(views) == 1:
            return views if len(views[0]) == end - begin else None
        return views if sum(map(len, views)) == end - begin else None

    def size(self, start: int, stop: int, format: str) -> int:
        """Return the number of bytes that `read` would return, without asking a server."""
        return EncodedSlice.of(start, stop, format).size

    def digits(self, n: int, first: int = 20, last: int = 20) -> NumberDigits:
        """Return how many decimal digits F(n) has, the first and the last ones.

        F(n) itself is not computed, so n may be far above the server's `max_index`.

        Args:
            n: Index, 0 <= n < 10^1000.
            first: How many of the first digits, 0 to 1000.
            last: How many of the last digits, 0 to 1000.
        """
        return self._digits(self._deadline(), n, first, last)

    def range_digits(
        self, start: int, stop: int, first: int = 20, last: int = 20
    ) -> list[NumberDigits]:
        """Return the same as `digits` for F(start) to F(stop-1), in one request.

        Args:
            start: First index, 0 <= start < 10^1000.
            stop: Index to stop before: at most 1,000 more, and fewer if their digits would be more
                than 60,000 in total.
            first: How many of the first digits of each, 0 to 1000.
            last: How many of the last digits of each, 0 to 1000.
        """
        return self._range_digits(self._deadline(), start, stop, first, last)

    def number_digits(self, n: int, start: int, count: int) -> str:
        """Return decimal digits of F(n), at most `count` of them, none after the last one.

        Args:
            n: Index, >= 0; F(n) is computed, so it is limited as by `number`.
            start: Position of the first digit, >= 0.
            count: Number of digits, >= 1.
        """
        return self._number_digits(self._deadline(), n, start, count)

    def mod(self, n: int, m: int) -> int:
        """Return F(n) mod m; F(n) itself is not computed.

        Args:
            n: Index, 0 <= n < 10^1000.
            m: Modulus, 1 <= m < 10^1000.
        """
        return self._mod(self._deadline(), n, m)

    def index(self, x: int) -> NumberIndex:
        """Return which Fibonacci number x is, its neighbours, and its Zeckendorf sum.

        Args:
            x: Any number of at most 4,000 digits, >= 0.
        """
        return self._index(self._deadline(), x)

    def first_index(self, digits: int) -> int:
        """Return the smallest n whose F(n) has a number of decimal digits.

        Args:
            digits: Number of digits, at least 1 and at most that of F(10^1000 - 1).
        """
        LENGTH.check("digits", digits)
        reply = self._requester.call(self._deadline(), "FIB.INDEX", "DIGITS", digits)
        return parse_number("FIB.INDEX", reply)

    def ping(self) -> None:
        """Check that a server replies to PING."""
        self._ping(self._deadline())

    def info(self, section: str = "default") -> dict[str, str]:
        """Return the fields of a server's INFO reply, by name.

        Args:
            section: Name of a section, such as `server`, or `all`.
        """
        sections = parse_info(self.info_text(section))
        return {name: value for values in sections.values() for name, value in values.items()}

    def info_text(self, section: str = "default") -> str:
        """Return the text of a server's INFO reply: `name:value` lines in sections.

        Args:
            section: As in `info`; the text is empty for an unknown section.
        """
        text = self._requester.call(self._deadline(), "INFO", section)
        if not isinstance(text, bytes):
            raise ServerMisbehaved(f"invalid reply to INFO: {text!r:.64}")
        return text.decode("utf-8", "replace")

    def limits(self) -> Limits:
        """Return the limits that a server sets on each request."""
        args = ("CONFIG", "GET", "max_index", "max_answer_bytes")
        reply = self._requester.call(self._deadline(), *args)
        flat = [item for item in reply if isinstance(item, bytes)] if type(reply) is list else []
        values = dict(zip(flat[::2], flat[1::2], strict=False))
        try:
            return Limits(int(values[b"max_index"]), int(values[b"max_answer_bytes"]))
        except (KeyError, ValueError) as error:
            raise ServerMisbehaved(f"invalid reply to CONFIG GET: {reply!r:.64}") from error

    def submit(self, method: str, *arguments: Any) -> "Future[Any]":
        """Queue a call for one of the client's own threads; its timeout starts now.

        Args:
            method: `first`, `range`, `number`, `read`, `digits`, `range_digits`, `number_digits`,
                `mod`, `index` or `ping`.
            arguments: Positional arguments of the method.

        Returns:
            A future with what the method returns or raises.
        """
        return self._submit(_operation(method), self, self._deadline(), *arguments)

    def map(self, method: str, *iterables: Iterable[Any]) -> Iterator[Any]:
        """Make many calls concurrently and yield their results in order.

        Only a few calls per connection are queued at once, so the iterables may be endless.

        Args:
            method: As in `submit`.
            iterables: One for each argument of the method.
        """
        _operation(method)  # raise here, not at the first `next`
        return self._map(method, zip(*iterables, strict=True))

    def stats(self) -> ClientStatistics:
        """Return a snapshot of this client's counters and of its endpoints' states."""
        return ClientStatistics(
            *self._pool.usage(),
            self._pool.connections_opened,
            self._policy.retries,
            self._policy.hedges,
            self._cache.statistics(),
            tuple(map(endpoint_statistics, self._pool.endpoints())),
        )

    def close(self) -> None:
        """Close all connections; calls in progress in other threads raise `ClientClosed`."""
        self._pool.close()
        self._cache.close()
        # A future's callback may call this on one of these threads, which cannot join itself.
        # Queued calls still run, and raise at once.
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
            raise ServerMisbehaved(f"received {len(numbers)} numbers for range {start} to {stop}")
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
        slice_ = EncodedSlice.of(start, stop, format)
        if not slice_.size:
            return b""
        fetch = partial(self._requester.fetch, deadline, cancellation)
        cached = self._cache.read(slice_, deadline, fetch, cancellation)
        return fetch(slice_) if cached is None else cached

    def _result(
        self, deadline: float, slice_: EncodedSlice, cancellation: Cancellation | None
    ) -> bytes | FibError:
        start, stop, format = slice_.start, slice_.stop, slice_.format.name
        try:
            return self._read(deadline, start, stop, format, cancellation)
        except FibError as error:
            return error

    def _gather(
        self, slice_: EncodedSlice, parts: int, cancellation: Cancellation | None
    ) -> bytes:
        """Return a slice whose parts are fetched in parallel."""
        deadline = self._deadline()
        # Let the server reject the request before a buffer is allocated.
        args = ("FIB.SIZE", slice_.start, slice_.stop, "FORMAT", slice_.format.name)
        self._requester.call(deadline, *args, cancellation=cancellation)
        buffer = BytesIO(bytes(slice_.size))
        fetch, calls = self._requester.fetch_into, []
        with buffer.getbuffer() as view:
            for part in slice_.parts(parts):
                begin = slice_.offset(part.start)
                end = begin + part.size
                separator = slice_.format.separator[: slice_.size - end]  # none after the last
                view[end : end + len(separator)] = separator
                arguments = (deadline, cancellation, part, view[begin:end])
                calls.append(self._submit(fetch, *arguments))
            from concurrent.futures import FIRST_EXCEPTION, wait  # `_submit` has imported it

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
            for args in arguments:
                calls.append(self.submit(method, *args))
                if len(calls) >= MAP_CALLS_PER_CONNECTION * self._max_threads:
                    yield calls.popleft().result()
            while calls:
                yield calls.popleft().result()
        finally:
            for call in calls:
                call.cancel()

    def _stream(
        self, slice_: EncodedSlice, begin: int, end: int, cancellation: Cancellation | None
    ) -> Generator[memoryview, None, None]:
        for view in self._cache.peek(slice_, begin, end):
            for position in builtins.range(0, len(view), STREAM_BUFFER_BYTES):
                yield view[position : position + STREAM_BUFFER_BYTES]
            begin += len(view)
        if begin == end:
            return
        yield from self._requester.stream(self._timeout, cancellation, slice_, begin, end)

    def _digits(self, deadline: float, n: int, first: int = 20, last: int = 20) -> NumberDigits:
        INDEX.check("n", n)
        DIGIT_COUNT.check("first", first)
        DIGIT_COUNT.check("last", last)
        args = ("FIB.DIGITS", n, "FIRST", first, "LAST", last)
        return parse_digits(self._requester.call(deadline, *args))

    def _range_digits(
        self, deadline: float, start: int, stop: int, first: int = 20, last: int = 20
    ) -> list[NumberDigits]:
        INDEX.check("start", start)
        DIGIT_COUNT.check("first", first)
        DIGIT_COUNT.check("last", last)
        if stop < start:
            raise ValueError("stop must not be less than start")
        count = stop - start
        args = ("FIB.DIGITS", start, "FIRST", first, "LAST", last, "COUNT", count)
        return parse_digits_list(self._requester.call(deadline, *args), count)

    def _number_digits(self, deadline: float, n: int, start: int, count: int) -> str:
        if min(n, start) < 0 or count < 1:
            raise ValueError(
                f"digits {start} of F({n}), count {count}: n and start must be >= 0, count >= 1"
            )
        args = ("FIB.NUMBER", n, "FROM", start, "COUNT", count)
        return parse_text("FIB.NUMBER", self._requester.call(deadline, *args), count)

    def _mod(self, deadline: float, n: int, m: int) -> int:
        INDEX.check("n", n)
        MODULUS.check("m", m)
        return parse_number("FIB.MOD", self._requester.call(deadline, "FIB.MOD", n, m))

    def _index(self, deadline: float, x: int) -> NumberIndex:
        VALUE.check("x", x)
        return parse_index(self._requester.call(deadline, "FIB.INDEX", x))

    def _ping(self, deadline: float) -> None:
        reply = self._requester.call(deadline, "PING")
        if reply != "PONG":
            raise ServerMisbehaved(f"invalid reply to PING: {reply!r:.64}")

    def _submit(self, operation: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        try:
            return self._threads.submit(operation, *arguments)
        except RuntimeError as error:
            if self._pool.is_closed:
                raise ClientClosed("the client is closed") from error
        # The interpreter is exiting and starts no threads: run the call on this one.
        return completed(operation, *arguments)

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
    "digits": FibClient._digits,
    "range_digits": FibClient._range_digits,
    "number_digits": FibClient._number_digits,
    "mod": FibClient._mod,
    "index": FibClient._index,
    "ping": FibClient._ping,
}

_clients: "weakref.WeakSet[FibClient]" = weakref.WeakSet()


def _operation(method: str) -> Callable[..., Any]:
    operation = _OPERATIONS.get(method)
    if operation is None:
        known = ", ".join(_OPERATIONS)
        raise ValueError(f"unknown method {method!r}: must be one of {known}")
    return operation


def _check_sockets_unpatched() -> None:
    """Raise `RuntimeError` if the socket module is patched: kernel timeouts would be ignored."""
    library = socket.socket.__module__.partition(".")[0]
    if library in ("gevent", "eventlet"):
        raise RuntimeError(
            f"{library} has replaced the socket module, so fibclient cannot enforce deadlines: "
            "use it in a process that is not patched, such as a threaded worker"
        )


def _renew_clients() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_renew_clients)
