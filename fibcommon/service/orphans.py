"""Reaping of orphaned processes by process 1 of a container."""

import os
from collections.abc import Collection

__all__ = ["reap_orphans"]


def reap_orphans(children: Collection[int | None]) -> None:
    """Reap orphaned processes that have ended, without blocking.

    The kernel makes process 1 the parent of each process whose own parent has ended, such as the
    workers of a fibserver that was killed. Otherwise they would remain as zombies.

    Args:
        children: Ids of processes that the caller reaps itself; None is ignored.
    """
    if os.getpid() != 1:
        return
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        # A child of the caller hides the orphans after it until the caller has reaped it.
        while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid not in children:
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        return  # there are no children
