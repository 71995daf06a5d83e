"""Protocols of systemd: socket activation and notifications.

Both consist of environment variables and plain sockets (sd_listen_fds(3), sd_notify(3)), so they
need no library, and other supervisors support them too. A notification that cannot be sent is
dropped.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from fibcommon.service.errors import ListenError
from fibcommon.service.listeners import adopt_listener

__all__ = ["ActivatedSocket", "Notifier", "activated_sockets"]

log = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: passed sockets follow standard input, output and error."""


STOP_MARGIN_SECONDS = 5.0
"""Time for the shutdown after the last request, on a busy machine."""


class ActivatedSocket(NamedTuple):
    """A listening socket that systemd has opened.

    Attributes:
        socket: Non-blocking socket that child programs do not inherit.
        name: FileDescriptorName= of the socket unit, by default the name of the unit.
    """

    socket: socket.socket
    name: str


def activated_sockets(environment: MutableMapping[str, str]) -> list[ActivatedSocket]:
    """Return the sockets that were passed to this process.

    The variables are removed from the environment, so that children do not use them.

    Args:
        environment: Environment variables of this process.

    Raises:
        ListenError: A passed descriptor is not a listening socket, or the variables are invalid.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()):
        return []  # set for a parent that did not remove them
    if not (count.isascii() and count.isdigit()):
        raise ListenError(f"LISTEN_FDS: {count!r}: must be the number of sockets passed")
    passed: list[ActivatedSocket] = []
    try:
        for index in range(int(count)):
            name = names[index] if index < len(names) else ""
            where = f"descriptor {FIRST_DESCRIPTOR + index} ({name or 'unnamed'}) from systemd"
            listener = adopt_listener(FIRST_DESCRIPTOR + index, where)
            passed.append(ActivatedSocket(listener, name))
    except BaseException:
        for activated in passed:
            activated.socket.close()
        raise
    return passed


class Notifier:
    """Sender of state notifications to the service manager; without one, it does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Open the socket now, while descriptors are available.

        Args:
            environment: Environment variables of this process.
        """
        self._address = _socket_address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._watchdog_seconds = _watchdog_seconds(environment)
        if self._address:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @property
    def watchdog_seconds(self) -> float | None:
        """The manager kills the process after this time without `watchdog()`; None: never."""
        return self._watchdog_seconds

    def tick_seconds(self, longest: float) -> float:
        """Return the interval of periodic work that includes `watchdog()`.

        Args:
            longest: The interval without a watchdog, and the longest with one.
        """
        return min(longest, (self._watchdog_seconds or 2 * longest) / 2)

    def ready(self, status: str) -> None:
        """Report that the start or a reload is complete.

        Args:
            status: One line for `systemctl status`, as in the other methods.
        """
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report the beginning of a reload; `ready()` reports its end."""
        # Without the time, systemd 253 and later waits forever under Type=notify-reload.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """Report that the server is stopping.

        Args:
            status: One line.
            seconds: Maximum duration of the stop. The manager waits that long even if its
                TimeoutStopSec is shorter.
        """
        extension = f"EXTEND_TIMEOUT_USEC={round((seconds + STOP_MARGIN_SECONDS) * 1e6)}"
        self._send("STOPPING=1", extension, f"STATUS={status}")

    def status(self, text: str) -> None:
        """Report a status line."""
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        """Report that the server is alive."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        message = "\n".join(assignment.replace("\n", " ") for assignment in assignments)
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except OSError as error:
            log.debug("cannot notify the service manager: %s", error)


def _socket_address(text: str) -> str:
    return "\0" + text[1:] if text.startswith("@") else text


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    pid = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if pid not in ("", str(os.getpid())):
        return None  # set for a parent
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    return int(microseconds) / 1e6
