"""Worker process: carries out one task after another.

    acceptor ── task ──> socketpair ──> worker ── pwrite ──> arena
             <── outcome ──                    <── read, write ──> snapshot

A worker owns no state, so it may be killed at any time: the acceptor reads the end of the
socketpair and gives the task to another worker. A worker exits when its socketpair is closed.

A forked process inherits every descriptor. A client's socket that stayed open in a worker would
never appear closed to the client, and the acceptor's end of another worker's socketpair would keep
that worker alive after the acceptor's death. So a worker closes all descriptors except its own
before its first task.

Signals that are sent to the whole process group, as by Ctrl-C or systemd, are handled by the
acceptor alone: it needs its workers while it drains.

The socketpair preserves message boundaries (SOCK_SEQPACKET): a task or an outcome arrives whole
or not at all and needs no framing.
"""

import errno
import gc
import logging
import os
import signal
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

from fibcommon.formats import FORMATS
from fibserver.core.process_memory import MemoryMeasurement
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Action, Block, Task
from fibserver.storage.snapshot import Snapshot, SnapshotError

__all__ = [
    "FOR_THE_ACCEPTOR",
    "OUTCOME_BYTES",
    "Outcome",
    "Report",
    "decode_outcome",
    "decode_task",
    "encode_outcome",
    "encode_task",
    "work",
]

log = logging.getLogger(__name__)

FOR_THE_ACCEPTOR = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that workers ignore. Block them during the fork: until a worker ignores them, it
would report its own signals to the acceptor through the inherited wakeup descriptor."""

_TASK = struct.Struct("<B16s5Q")
_OUTCOME = struct.Struct("<BI2q")
OUTCOME_BYTES = _OUTCOME.size


class Outcome(IntEnum):
    """How a task ended."""

    DONE = 0
    RECOMPUTED = 1
    """The block is filled, but was computed because its snapshot file was unusable."""
    FAILED = 2
    """The task failed with an error number."""


def encode_task(task: Task) -> bytes:
    """Return the message that sends a task to a worker."""
    block = task.block
    return _TASK.pack(task.action, block.format.name.encode(), *block[1:])


def decode_task(message: bytes) -> Task:
    """Return the task encoded in a message."""
    action, name, *numbers = _TASK.unpack(message)
    return Task(Action(action), Block(FORMATS[name.rstrip(b"\0").decode()], *numbers))


def encode_outcome(outcome: Outcome, error_number: int, memory: MemoryMeasurement) -> bytes:
    """Return the message that reports an outcome."""
    return _OUTCOME.pack(outcome, error_number, memory.own_bytes, memory.parent_bytes)


class Report(NamedTuple):
    """A worker's report after a task.

    Attributes:
        outcome: How the task ended.
        error_number: The errno of a failure, else 0.
        overcounted_bytes: By how much the worker's memory is overcounted, as of its last probe
            (`fibserver.core.process_memory`).
        acceptor_overcounted_bytes: The same for the acceptor.
    """

    outcome: Outcome
    error_number: int
    overcounted_bytes: int
    acceptor_overcounted_bytes: int


def decode_outcome(message: bytes) -> Report:
    """Return the report encoded in a message."""
    outcome, *numbers = _OUTCOME.unpack(message)
    return Report(Outcome(outcome), *numbers)


def work(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
    """Carry out tasks until the channel is closed; the main function of a worker process."""
    # Inherited objects live as long as the process. Frozen, the garbage collector does not write
    # to them, which would copy their pages.
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for number in FOR_THE_ACCEPTOR:
        signal.signal(number, signal.SIG_IGN)
    _close_all_except({0, 1, 2, channel.fileno(), arena.fd})
    memory = MemoryMeasurement()
    try:
        while message := channel.recv(_TASK.size):
            task = decode_task(message)
            if task.action is Action.PROBE:
                memory.refresh()  # delays no block: a worker with a pending probe gets no task
            channel.send(encode_outcome(*_run(task, arena, snapshot), memory))
    except (BrokenPipeError, ConnectionResetError):
        log.debug("the acceptor has ended")


def _run(task: Task, arena: Arena, snapshot: Snapshot | None) -> tuple[Outcome, int]:
    block = task.block
    try:
        match task.action:
            case Action.FILL:
                arena.fill(block)
            case Action.LOAD if snapshot:
                return _load(block, arena, snapshot), 0
            case Action.SAVE if snapshot:
                snapshot.save(block, *arena.block_views(block))
            case Action.DISCARD if snapshot:
                snapshot.discard(block)
    except OSError as error:
        is_expected = task.action in (Action.SAVE, Action.DISCARD) or error.errno == errno.ENOSPC
        if not is_expected:
            raise
        return Outcome.FAILED, error.errno or errno.EIO
    return Outcome.DONE, 0


def _load(block: Block, arena: Arena, snapshot: Snapshot) -> Outcome:
    arena.reserve(block)
    try:
        snapshot.load(block, *arena.block_views(block))
    except (SnapshotError, OSError) as error:
        path = snapshot.path(block.format, block.start)
        log.warning("%s: %s; recomputing the block", path, error)
        arena.fill(block)
        return Outcome.RECOMPUTED
    return Outcome.DONE


def _close_all_except(kept: set[int]) -> None:
    # SC_OPEN_MAX is 2^30 in some containers, and close_range(2) is missing from older kernels.
    descriptors: Iterable[int]
    try:
        descriptors = map(int, os.listdir("/proc/self/fd"))
    except OSError:  # no /proc: slow but complete
        descriptors = range(os.sysconf("SC_OPEN_MAX"))
    for fd in descriptors:
        if fd not in kept:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(fd)
