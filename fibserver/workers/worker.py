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
from fibserver.compute.expressions import evaluate
from fibserver.core.process_memory import MemoryMeasurement
from fibserver.memory.arena import Arena
from fibserver.memory.blocks import Action, Block, Task
from fibserver.storage.snapshot import Snapshot, SnapshotError, checksum
from fibserver.workers.allocator import keep_freed_memory

__all__ = [
    "FOR_THE_ACCEPTOR",
    "MAX_REPORT_BYTES",
    "Outcome",
    "Report",
    "decode_report",
    "decode_task",
    "encode_report",
    "encode_task",
    "work",
]

log = logging.getLogger(__name__)

FOR_THE_ACCEPTOR = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that workers ignore. Block them during the fork: until a worker ignores them, it
would report its own signals to the acceptor through the inherited wakeup descriptor."""

_TASK = struct.Struct("<B16s6Q")
MAX_TASK_BYTES = 8 * 1024
"""Maximum size of a task, with an expression whose arguments fit a request."""
_REPORT = struct.Struct("<BI2q")
MAX_REPORT_BYTES = 64 * 1024
"""Maximum size of a report: its value may have 60,000 digits and their separators."""


class Outcome(IntEnum):
    """How a task ended."""

    DONE = 0
    LOADED = 1
    """The block was loaded from the snapshot."""
    FAILED = 2
    """The task failed with an error number."""


def encode_task(task: Task) -> bytes:
    """Return the message that sends a task to a worker."""
    block = task.block
    name = block.format.name.encode()
    return _TASK.pack(task.action, name, *block[1:], task.checksum) + task.expression


def decode_task(message: bytes) -> Task:
    """Return the task encoded in a message."""
    action, name, *numbers, checksum = _TASK.unpack_from(message)
    block = Block(FORMATS[name.rstrip(b"\0").decode()], *numbers)
    return Task(Action(action), block, checksum, message[_TASK.size :])


class Report(NamedTuple):
    """A worker's report after a task.

    Attributes:
        outcome: How the task ended.
        error_number: The errno of a failure, else 0.
        results: Two numbers. After FILL: the checksum of the block if it is worth saving, else 0;
            and 0. After SAVE: by how much the number and size of the files have grown. After TRIM:
            the number and size of the remaining files. After PROBE: by how much the memory of the
            worker and of the acceptor is overcounted, in bytes (`fibserver.core.process_memory`).
        value: The value of an expression, if any.
    """

    outcome: Outcome
    error_number: int = 0
    results: tuple[int, int] = (0, 0)
    value: bytes = b""


def encode_report(report: Report) -> bytes:
    """Return the message that contains a report."""
    return _REPORT.pack(report.outcome, report.error_number, *report.results) + report.value


def decode_report(message: bytes) -> Report:
    """Return the report in a message."""
    outcome, error_number, *results = _REPORT.unpack_from(message)
    return Report(
        Outcome(outcome), error_number, (results[0], results[1]), message[_REPORT.size :]
    )


def work(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
    """Carry out tasks until the channel is closed; the main function of a worker process."""
    # Inherited objects live as long as the process. Frozen, the garbage collector does not write
    # to them, which would copy their pages.
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for number in FOR_THE_ACCEPTOR:
        signal.signal(number, signal.SIG_IGN)
    _close_all_except({0, 1, 2, channel.fileno(), arena.fd})
    keep_freed_memory()
    memory = MemoryMeasurement()
    try:
        while message := channel.recv(MAX_TASK_BYTES):
            channel.send(encode_report(_run(decode_task(message), arena, snapshot, memory)))
    except (BrokenPipeError, ConnectionResetError):
        log.debug("the acceptor has ended")


def _run(task: Task, arena: Arena, snapshot: Snapshot | None, memory: MemoryMeasurement) -> Report:
    block = task.block
    try:
        match task.action:
            case Action.FILL:
                return _fill(block, arena, snapshot)
            case Action.SAVE if snapshot:
                grown = snapshot.save(block, arena.view(block), task.checksum)
                return Report(Outcome.DONE, results=grown)
            case Action.TRIM if snapshot:
                return Report(Outcome.DONE, results=snapshot.trim())
            case Action.CALCULATE:
                return Report(Outcome.DONE, value=evaluate(task.expression))
            case Action.PROBE:
                memory.refresh()  # delays no block: a worker with a pending probe gets no task
                return Report(Outcome.DONE, results=(memory.own_bytes, memory.parent_bytes))
    except OSError as error:
        if task.action is Action.FILL and error.errno != errno.ENOSPC:
            raise
        return Report(Outcome.FAILED, error.errno or errno.EIO)
    except SnapshotError as error:
        log.error("%s: %s; not saved", snapshot and snapshot.path(block), error)
        return Report(Outcome.FAILED, errno.EBADMSG)
    return Report(Outcome.DONE)


def _fill(block: Block, arena: Arena, snapshot: Snapshot | None) -> Report:
    if snapshot is None or not block.is_worth_reading:
        arena.fill(block)
        return Report(Outcome.DONE)
    arena.reserve(block)
    data = arena.view(block)
    try:
        if snapshot.load(block, data):
            return Report(Outcome.LOADED)
    except (SnapshotError, OSError) as error:
        log.warning("%s: %s; computing the block", snapshot.path(block), error)
    arena.fill(block)
    return Report(Outcome.DONE, results=(checksum(block, data), 0))


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
