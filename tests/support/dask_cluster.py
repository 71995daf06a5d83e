"""A Dask cluster of two worker processes, in a process of its own.

dask.distributed starts threads and event loops that outlive its objects, and warns in ways that
tests treat as failures; so it stays out of the process of the tests. The process prints the
address of the scheduler and ends with its standard input.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from fibclient.export.optional import optional
from tests.support.waiting import DEADLINE_SECONDS

__all__ = ["DaskCluster", "dask_cluster"]

WORKERS = 2


class DaskCluster(NamedTuple):
    """A running cluster.

    Attributes:
        address: Address of the scheduler.
        process: The process of the scheduler.
    """

    address: str
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """Return the live worker processes."""
        children = self.process.children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def dask_cluster() -> Iterator[DaskCluster]:
    """Run a cluster."""
    child = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child, child.stdout, child.stdin:
        yield DaskCluster(child.stdout.readline().strip(), psutil.Process(child.pid))
        child.stdin.close()
        assert child.wait(DEADLINE_SECONDS) == 0


def _run() -> None:
    distributed = optional("distributed", "dask", "the test")
    with distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _run()
