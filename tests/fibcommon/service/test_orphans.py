"""Reaping of orphans."""

import os
import subprocess
import sys
from collections.abc import Callable

from fibcommon.service.orphans import reap_orphans
from tests.conftest import missing

AS_PROCESS_1 = """
import os
from fibcommon.service.orphans import reap_orphans

def is_left(pid):
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    except ChildProcessError:
        return False

reap_orphans(())  # without any process
orphan, ours = os.fork() or os._exit(0), os.fork() or os._exit(0)
assert is_left(orphan) and is_left(ours)  # both have ended
reap_orphans({ours, None})
assert not is_left(orphan)
assert is_left(ours)
os.waitpid(ours, 0)
"""


def test_process_1_reaps_orphans(program: Callable[[str], str]) -> None:
    """Process 1 of a container reaps orphans, but not its own children."""
    if os.geteuid() != 0:
        missing("root, for a process 1 of one's own")
    subprocess.run(
        [program("unshare"), "--pid", "--fork", sys.executable, "-c", AS_PROCESS_1],
        check=True,
        timeout=60,
    )


def test_other_processes_reap_nothing() -> None:
    """Any other process reaps nothing."""
    with subprocess.Popen(["false"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        reap_orphans(())
        assert child.wait() == 1  # it would be 0 if the child had been reaped already
