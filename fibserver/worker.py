"""The worker process: fills one block at a time, and nothing else.

    acceptor ── task ──> socketpair ──> worker ── pwrite ──> arena
             <── outcome ──

A worker owns no state that anyone needs. It may be killed at any instant: the acceptor sees
the socketpair end and gives the block to another. It ends itself when its socketpair does.

Facts about forking, and what they mean here. A forked child inherits every descriptor: a
client's socket that stays open here would never be seen to close, and the acceptor's end of
another worker's socketpair would keep that worker alive after the acceptor's death. So the
first act is to close all but its own. Signals sent to the whole process group, as by Ctrl-C or
systemd, are for the acceptor to handle: while it drains, it needs its workers.

The socketpair keeps message boundaries (SOCK_SEQPACKET), so a task or an outcome arrives
whole or not at all, and needs no framing.
"""

import errno
import logging
import os
import signal
import socket
import struct
from enum import IntEnum
from itertools import pairwise

from fibclient.formats import FORMATS
from fibserver.arena import Arena
from fibserver.growth import Block

__all__ = ["OUTCOME_BYTES", "Outcome", "decode_task", "encode_task", "work"]

log = logging.getLogger(__name__)

_TASK = struct.Struct("<16s6Q")
OUTCOME_BYTES = 1


class Outcome(IntEnum):
    """What became of a task, as one byte."""

    DONE = 0
    NO_SPACE = 1


def encode_task(block: Block) -> bytes:
    """Return the message that hands a block to a worker."""
    return _TASK.pack(block.format.name.encode(), *block[1:])


def decode_task(message: bytes) -> Block:
    """Return the block of a message."""
    name, *numbers = _TASK.unpack(message)
    return Block(FORMATS[name.rstrip(b"\0").decode()], *numbers)


def work(channel: socket.socket, arena: Arena) -> None:
    """Fill blocks until the channel ends; the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _close_all_but({0, 1, 2, channel.fileno(), arena.fd})
    try:
        while task := channel.recv(_TASK.size):
            channel.send(bytes([_outcome(arena, decode_task(task))]))
    except (BrokenPipeError, ConnectionResetError):
        log.debug("the acceptor is gone")


def _outcome(arena: Arena, block: Block) -> Outcome:
    try:
        arena.fill(block)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return Outcome.NO_SPACE
    return Outcome.DONE


def _close_all_but(kept: set[int]) -> None:
    fences = [-1, *sorted(kept), os.sysconf("SC_OPEN_MAX")]
    for below, above in pairwise(fences):
        if below + 1 < above:  # CPython 3.11 takes an empty range from 0 for all descriptors
            os.closerange(below + 1, above)
