"""fibserver whose workers have one fault, for test_faults.py.

    python -m tests.support.faulty_server FAULT TOKENS

Each strike of the fault removes one file from the directory TOKENS, so a test sets the number of
strikes and sees when they have happened. Everything else is the real server, with settings from
FIBSERVER_* variables.
"""

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from fibserver.acceptor import Acceptor
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Block
from fibserver.settings import ServerSettings
from fibserver.storage.snapshot import Snapshot
from fibserver.workers import worker

Fill = Callable[[Block], None]


def die() -> None:
    """Kill this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(fill: Fill, block: Block) -> None:
    """Die before writing anything."""
    die()


def die_during(fill: Fill, block: Block) -> None:
    """Die after writing the first half."""
    write = os.pwrite

    def write_half(fd: int, data: bytes, position: int) -> int:
        write(fd, data[: len(data) // 2], position)
        die()
        return 0

    os.pwrite = write_half  # type: ignore[assignment]
    fill(block)


def die_after(fill: Fill, block: Block) -> None:
    """Die after writing everything, before reporting it."""
    fill(block)
    die()


def scribble(fill: Fill, block: Block) -> None:
    """Fill the block with garbage, then die: unpublished bytes must never be sent."""
    fill(block)
    fd = next(int(name) for name in os.listdir("/proc/self/fd") if _is_segment(name))
    os.pwrite(fd, b"?" * block.size, block.position)
    die()


def _is_segment(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("/dev/shm/")
    except OSError:
        return False


def no_space(fill: Fill, block: Block) -> None:
    """Fail as if /dev/shm were full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def hold(fill: Fill, block: Block) -> None:
    """Wait before a later block of an array until the test opens the gate."""
    if 1000 < block.start < 2000:
        Path(os.environ["GATE"]).read_bytes()  # a FIFO: blocks until it is written
    fill(block)


FAULTS: dict[str, Callable[[Fill, Block], None]] = {
    function.__name__: function
    for function in (die_before, die_during, die_after, scribble, no_space, hold)
}


def main() -> None:
    """Run the server."""
    fault, tokens = FAULTS[sys.argv[1]], Path(sys.argv[2])

    def work(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
        fill = arena.fill

        def faulty_fill(block: Block) -> None:
            for token in tokens.iterdir():
                try:
                    token.unlink()
                except FileNotFoundError:
                    continue  # another worker was faster
                fault(fill, block)
                return
            fill(block)

        arena.fill = faulty_fill  # type: ignore[method-assign]
        worker.work(channel, arena, snapshot)

    logging.basicConfig(level="INFO")
    acceptor = Acceptor(ServerSettings.load(), work=work)
    try:
        acceptor.run()
    finally:
        acceptor.close()


if __name__ == "__main__":
    main()
