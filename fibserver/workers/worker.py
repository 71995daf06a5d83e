"""The worker process: does one task at a time, and nothing else.

    acceptor ── task ──> socketpair ──> worker ── pwrite ──> arena
             <── outcome ──                    <── read, write ──> snapshot

A worker owns no state that anyone needs. It may be killed at any instant: the acceptor sees
the socketpair end and gives the task to another. It ends itself when its socketpair does.

Facts about forking, and what they mean here. A forked child inherits every descriptor: a
client's socket that stays open here would never be seen to close, and the acceptor's end of
another worker's socketpair would keep that worker alive after the acceptor's death. So the
first act is to close all but its own. Signals sent to the whole process group, as by Ctrl-C or
systemd, are for the acceptor to handle: while it drains, it needs its workers.

The socketpair keeps message boundaries (SOCK_SEQPACKET), so a task or an outcome arrives
whole or not at all, and needs no framing.
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
"""The signals that workers ignore. They are to be forked with these blocked: before a worker
comes to ignore them, it would tell the acceptor of its own through the pipe that they share."""

_TASK = struct.Struct("<B16s5Q")
_OUTCOME = struct.Struct("<BI2q")
OUTCOME_BYTES = _OUTCOME.size


class Outcome(IntEnum):
    """What became of a task."""

    DONE = 0
    RECOMPUTED = 1
    """The block is filled, but what the snapshot had of it was of no use."""
    FAILED = 2
    """The machine said no, with an error number."""


def encode_task(task: Task) -> bytes:
    """Return the message that hands a task to a worker."""
    block = task.block
    return _TASK.pack(task.action, block.format.name.encode(), *block[1:])


def decode_task(message: bytes) -> Task:
    """Return the task of a message."""
    action, name, *numbers = _TASK.unpack(message)
    return Task(Action(action), Block(FORMATS[name.rstrip(b"\0").decode()], *numbers))


def encode_outcome(outcome: Outcome, error_number: int, memory: MemoryMeasurement) -> bytes:
    """Return the message that reports an outcome."""
    return _OUTCOME.pack(outcome, error_number, memory.own_bytes, memory.parent_bytes)


class Report(NamedTuple):
    """What a worker reports after a task.

    Attributes:
        outcome: what became of the task.
        error_number: of a failure, else 0.
        overcounted_bytes: of the worker, as of its last sign of life
            (`fibserver.core.process_memory`).
        acceptor_overcounted_bytes: of the acceptor.
    """

    outcome: Outcome
    error_number: int
    overcounted_bytes: int
    acceptor_overcounted_bytes: int


def decode_outcome(message: bytes) -> Report:
    """Return what a message reports."""
    outcome, *numbers = _OUTCOME.unpack(message)
    return Report(Outcome(outcome), *numbers)


def work(channel: socket.socket, arena: Arena, snapshot: Snapshot | None) -> None:
    """Do tasks until the channel ends; the main function of a worker process."""
    # What was inherited lives as long as the process: a collection that looked at it would write
    # to it, and so have every page of it copied.
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for number in FOR_THE_ACCEPTOR:
        signal.signal(number, signal.SIG_IGN)
    _close_all_but({0, 1, 2, channel.fileno(), arena.fd})
    memory = MemoryMeasurement()
    try:
        while message := channel.recv(_TASK.size):
            task = decode_task(message)
            if task.action is Action.PROBE:
                memory.refresh()  # no block waits for this: a worker gets none meanwhile
            channel.send(encode_outcome(*_outcome(task, arena, snapshot), memory))
    except (BrokenPipeError, ConnectionResetError):
        log.debug("the acceptor is gone")


def _outcome(task: Task, arena: Arena, snapshot: Snapshot | None) -> tuple[Outcome, int]:
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
        log.warning("%s: %s; computed again", path, error)
        arena.fill(block)
        return Outcome.RECOMPUTED
    return Outcome.DONE


def _close_all_but(kept: set[int]) -> None:
    # Not up to SC_OPEN_MAX: that is 2^30 in some containers, and not every kernel closes a range.
    descriptors: Iterable[int]
    try:
        descriptors = map(int, os.listdir("/proc/self/fd"))
    except OSError:  # no /proc: one by one takes long, but is certain
        descriptors = range(os.sysconf("SC_OPEN_MAX"))
    for fd in descriptors:
        if fd not in kept:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(fd)
