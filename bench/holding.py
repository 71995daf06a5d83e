"""Connections from one process that hold what they have: idle ones, and slow or absent readers."""

import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from asking import RESET

__all__ = ["Holding"]

STEP_SECONDS = 0.05
BATCH = 250
"""So many are opened in one step: more at once overflow the queue of a listening socket, and
wait for a second until their SYN is sent again."""

VISIT_SECONDS = 1.0
"""Between two reads of each."""


@dataclass(frozen=True)
class Holding:
    """Connections that send something and read little or nothing.

    What the server closes is opened again: the burden stays what it is for as long as it is said
    to last.

    Attributes:
        count: of connections.
        sends: returns what the connection of this number sends, piece by piece, one in a second.
        bytes_per_second: that each reads; with 0 it never reads.
        receive_buffer_bytes: asked for by SO_RCVBUF; 0 leaves it as it is.
        renewal_seconds: after so long all are reset, and opened again; 0: never.
    """

    count: int
    sends: Callable[[int], list[bytes]]
    bytes_per_second: int = 0
    receive_buffer_bytes: int = 0
    renewal_seconds: float = 0.0

    def run(self, port: int, seconds: float, chance: Random) -> Counter[str]:
        """Hold the connections for a while; return how many were opened, cut off, and held."""
        ends: Counter[str] = Counter()
        until = time.monotonic() + seconds
        held: dict[int, _Held] = {}
        opened = 0
        visit = renewal = time.monotonic()
        renewal += self.renewal_seconds or seconds * 2
        while (now := time.monotonic()) < until:
            if now >= renewal:
                for each in held.values():
                    each.reset()
                held.clear()
                renewal = now + self.renewal_seconds
            missing = [each for each in range(self.count) if each not in held]
            for index in missing[:BATCH]:
                held[index] = _Held(port, self.sends(opened), self.receive_buffer_bytes)
                opened += 1
            if now >= visit:
                visit = now + VISIT_SECONDS
                for index in [i for i, each in held.items() if not each.visit(self)]:
                    held.pop(index).reset()
                    ends["cut off"] += 1
            time.sleep(max(0.0, min(until, now + STEP_SECONDS) - time.monotonic()))
        ends.update(opened=opened, held=len(held))
        return ends


class _Held:
    """One connection."""

    def __init__(self, port: int, pieces: list[bytes], receive_buffer_bytes: int) -> None:
        self._sock = socket.socket()
        self._pieces = pieces
        if receive_buffer_bytes:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._sock.setblocking(False)
        self._sock.connect_ex(("127.0.0.1", port))

    def visit(self, crowd: Holding) -> bool:
        """Send and read what is due, and return whether the connection is still there."""
        try:
            if self._pieces:
                rest = self._pieces[0][self._sock.send(self._pieces[0]) :]
                self._pieces[:1] = [rest] if rest else []
            if crowd.bytes_per_second:
                return bool(self._sock.recv(crowd.bytes_per_second))
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def reset(self) -> None:
        """Close the connection by a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()
