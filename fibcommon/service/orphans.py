"""Reaping of orphans by process 1 of a container."""

import os
from collections.abc import Collection

__all__ = ["reap_orphans"]


def reap_orphans(children: Collection[int | None]) -> None:
    """Reap the processes that have ended and that nobody else waits for; never blocks.

    The kernel makes process 1 the parent of every process whose own parent has ended, such as the
    workers of a fibserver that was killed. Without this they stay as zombies.

    Args:
        children: Processes that the caller has started and reaps itself; None stands for none.
    """
    if os.getpid() != 1:
        return
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        # A child of the caller hides the orphans after it until the caller has reaped it.
        while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid not in children:
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        return  # there is no process left, or none in the first place
