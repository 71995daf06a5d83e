"""Tests that are started in the background of a script."""

import subprocess
import sys

from tests.support.servers import DEADLINE_SECONDS

PARENT = """
import os, signal, subprocess, sys
from tests.support.signals import let_children_receive

let_children_receive()
os.kill(os.getpid(), signal.SIGINT)
child = "import os, signal; os.kill(os.getpid(), signal.{}); print('ignored')"
for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
    run = subprocess.run([sys.executable, "-c", child.format(name)], stderr=subprocess.DEVNULL)
    print(name, run.returncode, flush=True)
"""


def test_children_receive_signals_that_were_ignored() -> None:
    """SIGINT, SIGQUIT and SIGHUP end the children of tests that ignore these."""
    ignoring = ["sh", "-c", "trap '' INT QUIT HUP; exec \"$@\"", "sh"]
    said = subprocess.check_output(
        [*ignoring, sys.executable, "-c", PARENT], text=True, timeout=DEADLINE_SECONDS
    )
    assert said.splitlines() == ["SIGINT -2", "SIGQUIT -3", "SIGHUP -1"]
