"""Load from connections that stay open: idle ones, slow readers, and clients that never read."""

import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from request_flood import RESET

__all__ = ["HeldConnections"]

STEP_SECONDS = 0.05
BATCH = 250
"""Connections opened in one step: more would overflow the backlog of the listening socket and wait
a second until the kernel sends their SYN again."""

VISIT_SECONDS = 1.0
"""Interval between two reads of a connection."""


@dataclass(frozen=True)
class HeldConnections:
    """Connections that send a few requests and read little or nothing.

    A connection that the server closes is replaced, so that the load stays constant.

    Attributes:
        count: Number of connections.
        sends: Returns the requests of the connection with this number; one is sent per second.
        bytes_per_second: Bytes that each connection reads; 0: it never reads.
        receive_buffer_bytes: SO_RCVBUF of the connections; 0: the kernel's default.
        renewal_seconds: Interval at which all connections are reset and replaced; 0: never.
    """

    count: int
    sends: Callable[[int], list[bytes]]
    bytes_per_second: int = 0
    receive_buffer_bytes: int = 0
    renewal_seconds: float = 0.0

    def run(self, port: int, seconds: float, rng: Random) -> Counter[str]:
        """Hold the connections for `seconds`; count the opened, the cut off and the held ones."""
        outcomes: Counter[str] = Counter()
        until = time.monotonic() + seconds
        held: dict[int, _HeldConnection] = {}
        opened = 0
        visit = renewal = time.monotonic()
        renewal += self.renewal_seconds or seconds * 2
        while (now := time.monotonic()) < until:
            if now >= renewal:
                for connection in held.values():
                    connection.reset()
                held.clear()
                renewal = now + self.renewal_seconds
            missing = [index for index in range(self.count) if index not in held]
            for index in missing[:BATCH]:
                held[index] = _HeldConnection(port, self.sends(opened), self.receive_buffer_bytes)
                opened += 1
            if now >= visit:
                visit = now + VISIT_SECONDS
                for index in [i for i, connection in held.items() if not connection.visit(self)]:
                    held.pop(index).reset()
                    outcomes["cut off"] += 1
            time.sleep(max(0.0, min(until, now + STEP_SECONDS) - time.monotonic()))
        outcomes.update(opened=opened, held=len(held))
        return outcomes


class _HeldConnection:
    """One non-blocking connection."""

    def __init__(self, port: int, pieces: list[bytes], receive_buffer_bytes: int) -> None:
        self._sock = socket.socket()
        self._pieces = pieces
        if receive_buffer_bytes:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._sock.setblocking(False)
        self._sock.connect_ex(("127.0.0.1", port))

    def visit(self, load: HeldConnections) -> bool:
        """Send and read what is due, and return whether the connection is still open."""
        try:
            if self._pieces:
                rest = self._pieces[0][self._sock.send(self._pieces[0]) :]
                self._pieces[:1] = [rest] if rest else []
            if load.bytes_per_second:
                return bool(self._sock.recv(load.bytes_per_second))
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def reset(self) -> None:
        """Reset the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()
