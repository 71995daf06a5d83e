"""Use of a client in both processes after a fork."""

import subprocess
import sys

from tests.support.servers import DEADLINE_SECONDS, RunningServer

PROGRAM = """
import os, sys, threading
from fibclient import ClientClosed, FibClient

client = FibClient(sys.argv[1], cache_bytes=10_000_000)
other = FibClient(sys.argv[1], cache_bytes=0)
closed = FibClient(sys.argv[1])
closed.close()
assert client.first(10)[9] == 34
stream = other.stream(0, 5000, "text")
next(stream)

over = threading.Event()
def ask():
    while not over.is_set():
        assert other.range(5, 8) == [5, 8, 13]
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()

children = []
for _ in range(10):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            statistics = client.stats()
            assert statistics.connections_opened == 0 and statistics.in_use == 0, statistics
            assert statistics.cache.size_bytes == 0
            assert client.first(12)[11] == 89
            assert other.range(5, 8) == [5, 8, 13]
            assert other.submit("number", 10).result() == 55
            stream.close()
            assert other.range(5, 8) == [5, 8, 13]
            assert other.stats().in_use == 0, other.stats()
            try:
                closed.first(1)
            except ClientClosed:
                code = 0
            client.close()
            other.close()
        finally:
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
over.set()
for thread in threads:
    thread.join()
rest = sum(len(piece) for piece in stream)
assert client.first(11)[10] == 55
assert client.stats().connections_opened == 1, client.stats()
client.close()
other.close()
print(codes)
"""


QUIET_PROGRAM = """
import os, socket, threading
from fibclient import FibClient

with socket.create_server(("127.0.0.1", 0)) as listener:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = FibClient(address, cache_bytes=0, max_connection_age_seconds=1e-9)
    stream = client.stream(0, 3, "text")
    pieces = []
    reading = threading.Thread(target=lambda: pieces.append(bytes(next(stream))))
    reading.start()
    peer, _ = listener.accept()
    peer.recv(4096)
    peer.sendall(b"$6\\r\\n0\\n")
    reading.join()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    peer.sendall(b"1\\n1\\n\\r\\n")
    pieces += map(bytes, stream)
    # The connection has expired and is closed; after a reset recv() would raise.
    print(b"".join(pieces).decode().split(), peer.recv(1))
    peer.close()
    client.close()
"""


def run(program: str, *arguments: str) -> str:
    """Run a program that must write nothing to stderr; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_client_works_in_both_processes_after_fork(server: RunningServer) -> None:
    """Children open their own connections; the parent's connections and stream continue."""
    assert run(PROGRAM, server.address) == f"{[0] * 10}\n"


def test_child_does_not_reset_connections_of_parent() -> None:
    """A child does not reset a connection of its parent that owes a reply."""
    assert run(QUIET_PROGRAM) == "['0', '1', '1'] b''\n"
