"""The threads of `submit` and `map`, whose import waits until a call needs them."""

import subprocess
import sys

import pytest

from fibclient.call_threads import CallThreads
from tests.support.servers import DEADLINE_SECONDS, RunningServer

FORK_DURING_IMPORT = """
import os, sys, threading
from fibclient import FibClient

class SlowImport:
    def find_spec(self, name, path=None, target=None):
        if name == "concurrent.futures.thread":
            importing.set()
            may_end.wait()

importing, may_end = threading.Event(), threading.Event()
sys.meta_path.insert(0, SlowImport())
client = FibClient(sys.argv[1])
client.ping()  # so that no other import is left to do
thread = threading.Thread(target=client.submit, args=("number", 10))
thread.start()
importing.wait()
threading.Timer(1, may_end.set).start()
pid = os.fork()
if not pid:
    may_end.set()
    os._exit(client.submit("number", 10).result())
thread.join()
client.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_threads_are_imported_on_demand() -> None:
    """`import fibclient` and a new client import no thread pool."""
    code = (
        "import sys; from fibclient import FibClient; client = FibClient(); client.close();"
        "print({'concurrent.futures', 'dataclasses', 'logging', 'inspect'} & {*sys.modules})"
    )
    printed = subprocess.check_output(
        [sys.executable, "-S", "-c", code], text=True, timeout=DEADLINE_SECONDS
    )
    assert printed == "set()\n"


def test_fork_during_the_import(server: RunningServer) -> None:
    """A child that another thread's first call could have left in the middle of it has threads."""
    program = [sys.executable, "-c", FORK_DURING_IMPORT, server.address]
    assert subprocess.run(program, timeout=DEADLINE_SECONDS).returncode == 55


def test_no_call_after_shutdown() -> None:
    """Threads that were shut down take no call, even if none was started before."""
    threads = CallThreads(1, lambda: None)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(int)


def test_each_thread_is_initialized() -> None:
    """The initializer runs before the first call of a thread."""
    calls: list[str] = []
    threads = CallThreads(1, lambda: calls.append("start"))
    threads.submit(calls.append, "call").result(DEADLINE_SECONDS)
    threads.shutdown()
    assert calls == ["start", "call"]
