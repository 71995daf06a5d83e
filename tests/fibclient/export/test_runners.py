"""Runners of an export's tasks; tests/shipping has those with a Dask cluster."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from fibclient.cancellation import Cancellation, notified
from fibclient.errors import ServerUnreachable
from fibclient.export.optional import ExportError
from fibclient.export.runners import DaskRunner, ThreadRunner
from tests.support.waiting import DEADLINE_SECONDS


class Cluster:
    """A `distributed.Client` that runs tasks in a thread."""

    def get_executor(self, *, pure: bool) -> Executor:
        assert not pure
        return ThreadPoolExecutor(1)


def ignore(size: int) -> None:
    """Report no progress."""


def double(task: int, advance: Callable[[int], None], cancellation: Cancellation) -> int:
    """Return twice the task, with one step of progress."""
    advance(task)
    return 2 * task


def test_threads_run_all_tasks() -> None:
    """Each task is yielded with its result, and reports its own progress."""
    steps: list[int] = []
    results = dict(ThreadRunner(3).run(double, range(10), [0] * 10, steps.append))
    assert results == {task: 2 * task for task in range(10)}
    assert sorted(steps) == list(range(10))


def test_failure_ends_other_tasks() -> None:
    """The first exception cancels the tasks that run, and those that wait."""
    started = []

    def fail_or_wait(
        task: int, advance: Callable[[int], None], cancellation: Cancellation
    ) -> None:
        started.append(task)
        if task == 1:
            raise KeyError(task)
        is_cancelled = threading.Event()
        with notified(cancellation, is_cancelled.set):
            assert cancellation.is_cancelled or is_cancelled.wait(DEADLINE_SECONDS)

    with pytest.raises(KeyError):
        list(ThreadRunner(2).run(fail_or_wait, range(100), [0] * 100, ignore))
    assert len(started) < 100


def test_cluster_reports_progress_by_task() -> None:
    """The size of a task is added when it is complete."""
    steps: list[int] = []
    results = DaskRunner(Cluster()).run(abs, [-1, -2], [10, 20], steps.append)
    assert dict(results) == {-1: 1, -2: 2}
    assert sorted(steps) == [10, 20]


@pytest.mark.parametrize(
    ("failure", "expected", "message"),
    [
        (ServerUnreachable("cannot connect"), ServerUnreachable, "cannot connect"),
        (OSError(28, "No space left", "/x"), OSError, "No space left"),
        (ModuleNotFoundError("No module named 'fibclient'"), ExportError, "same version of fib"),
        (
            RuntimeError("Error during deserialization.\nSee …"),
            ExportError,
            r"deserialization.\):",
        ),
    ],
)
def test_failures_of_a_cluster(
    failure: Exception, expected: type[Exception], message: str
) -> None:
    """A task's own errors are passed on; those of Dask become one in plain words."""

    def fail(task: int) -> None:
        raise failure

    with pytest.raises(expected, match=message):
        list(DaskRunner(Cluster()).run(fail, [1], [1], ignore))


@pytest.mark.parametrize("address", ["", "head", "tcp://head", "head:x", "tcp://[::1", "://a:1"])
def test_invalid_address_of_a_scheduler(address: str) -> None:
    """An address without host or port is rejected before anything is imported."""
    with pytest.raises(ExportError, match="expected tcp://HOST:PORT"):
        DaskRunner.connected(address, 1.0).__enter__()
