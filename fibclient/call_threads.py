"""Threads for calls that do not block their caller, started on the first such call."""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["CallThreads", "completed"]

_importing = threading.RLock()
"""Held during the import of `concurrent.futures`, and by `fork`: a child that was forked in the
middle of an import by another thread could never complete it."""

os.register_at_fork(
    before=_importing.acquire,
    after_in_parent=_importing.release,
    after_in_child=_importing.release,
)


class CallThreads:
    """A pool of threads. Most programs never need it, so its import waits until one does."""

    def __init__(self, max_threads: int, initializer: Callable[[], None]) -> None:
        """Create a pool; no thread is started.

        Args:
            max_threads: Maximum number of threads, >= 1.
            initializer: Called by each thread when it starts.
        """
        self._max_threads = max_threads
        self._initializer = initializer
        self._executor: ThreadPoolExecutor | None = None
        self._is_shut_down = False

    def submit(self, operation: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Queue a call for one of the threads.

        Raises:
            RuntimeError: There is no thread for it: `shutdown` was called, the interpreter is
                exiting, or the system is short of threads.
        """
        return (self._executor or self._start()).submit(operation, *arguments)

    def shutdown(self) -> None:
        """Let the threads end after the queued calls, and wait for them.

        Raises:
            RuntimeError: One of the threads called this.
        """
        with _importing:
            self._is_shut_down = True
        if self._executor is not None:
            self._executor.shutdown()

    def _start(self) -> "ThreadPoolExecutor":
        with _importing:
            if self._is_shut_down:
                raise RuntimeError("the threads were shut down")
            # Raises RuntimeError while the interpreter is exiting.
            from concurrent.futures import ThreadPoolExecutor

            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    self._max_threads, "fibclient", self._initializer
                )
            return self._executor


def completed(operation: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """Run a call on this thread; return a future with its result or exception."""
    with _importing:
        from concurrent.futures import Future

    future: Future[Any] = Future()
    try:
        future.set_result(operation(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future
