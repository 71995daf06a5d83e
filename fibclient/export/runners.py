"""Execution of an export's tasks: in threads of this process, or by the workers of a Dask cluster.

Both run the same functions on the same tasks, so the files are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from fibclient.cancellation import Cancellation
from fibclient.errors import FibError
from fibclient.export.optional import ExportError, optional
from fibcommon.extras import MissingExtra

__all__ = ["DaskRunner", "Runner", "ThreadRunner"]

T = TypeVar("T")
R = TypeVar("R")


class Runner(Protocol):
    """Runs a function on many tasks."""

    def run(
        self,
        function: Callable[..., R],
        tasks: Sequence[T],
        sizes: Sequence[int],
        advance: Callable[[int], None],
    ) -> Iterator[tuple[T, R]]:
        """Yield each task with its result, in order of completion.

        The first exception ends all tasks, and so does closing the generator.

        Args:
            function: Called with a task; in this process also with `advance` and a
                `Cancellation`.
            tasks: The tasks.
            sizes: Number of bytes of each task, for the progress.
            advance: Called with the number of bytes of each step.
        """


class ThreadRunner:
    """Threads of this process."""

    def __init__(self, threads: int) -> None:
        """Set the number of threads.

        Args:
            threads: Number of tasks at the same time, >= 1.
        """
        self._threads = threads

    def run(
        self,
        function: Callable[..., R],
        tasks: Sequence[T],
        sizes: Sequence[int],
        advance: Callable[[int], None],
    ) -> Iterator[tuple[T, R]]:
        """Yield each task with its result; see `Runner`."""
        cancellation = Cancellation()
        executor = ThreadPoolExecutor(self._threads, "export")
        try:
            yield from _completed(executor, function, tasks, advance, cancellation)
        finally:
            cancellation.cancel()
            executor.shutdown(cancel_futures=True)


class DaskRunner:
    """Workers of a Dask cluster, which need fibservice and access to servers and files."""

    def __init__(self, client: Any) -> None:
        """Use a cluster.

        Args:
            client: A `distributed.Client`.
        """
        self._client = client

    @classmethod
    @contextmanager
    def connected(cls, address: str, timeout_seconds: float) -> "Iterator[DaskRunner]":
        """Return a context that is connected to a scheduler.

        Args:
            address: Address of the scheduler, such as `tcp://host:8786`.
            timeout_seconds: Timeout for the connection.

        Raises:
            ExportError: The address is invalid.
            MissingExtra: distributed is missing.
            OSError: The scheduler is not reachable.
        """
        if not _is_valid(address):
            raise ExportError(
                f"invalid address of a Dask scheduler {address!r}: expected tcp://HOST:PORT"
            )
        distributed = optional("distributed", "dask", "--dask")
        try:
            client = distributed.Client(address, timeout=timeout_seconds, set_as_default=False)
        except OSError as error:
            text = f"no Dask scheduler replies there: {error}"
            raise OSError(error.errno, text, address) from error
        with client:
            yield cls(client)

    @property
    def has_workers(self) -> bool:
        """Whether the cluster has any workers now."""
        return bool(self._client.scheduler_info()["workers"])

    def run(
        self,
        function: Callable[..., R],
        tasks: Sequence[T],
        sizes: Sequence[int],
        advance: Callable[[int], None],
    ) -> Iterator[tuple[T, R]]:
        """Yield each task with its result; see `Runner`."""
        size_of = dict(zip(tasks, sizes, strict=True))
        # Not pure: a task of an earlier export has the same arguments, and must run again.
        executor = self._client.get_executor(pure=False)
        try:
            for task, result in _completed(executor, function, tasks):
                advance(size_of[task])
                yield task, result
        except (FibError, OSError, ExportError, MissingExtra):
            raise  # a task's own errors
        except Exception as error:
            # Dask's errors: the function cannot be imported there, or ends the worker each time.
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ExportError(
                f"the Dask cluster cannot run the export ({reason}): its scheduler and workers "
                "need the same version of fibservice as this machine, and the same extras"
            ) from error
        finally:
            executor.shutdown(wait=False)


def _is_valid(address: str) -> bool:
    """Whether an address has a host and a port; distributed fails late, and loudly, otherwise."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        return bool(parts.scheme and parts.hostname and parts.port)
    except ValueError:
        return False


def _completed(
    executor: Executor, function: Callable[..., R], tasks: Sequence[T], *arguments: Any
) -> Iterator[tuple[T, R]]:
    futures = {executor.submit(function, task, *arguments): task for task in tasks}
    for future in as_completed(futures):
        yield futures.pop(future), future.result()
