"""What systemd and the server tell each other: sockets passed at start, and notifications.

Both protocols are environment variables and plain sockets (sd_listen_fds(3), sd_notify(3)), so
they need no library, and any supervisor may speak them. Whatever a supervisor fails to take is
its loss: serving goes on.
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
"""For what follows the last answer, on a busy machine."""


class ActivatedSocket(NamedTuple):
    """A listening socket that systemd has opened.

    Attributes:
        socket: non-blocking, and not inherited by other programs.
        name: FileDescriptorName= of its unit; by default that of the unit itself.
    """

    socket: socket.socket
    name: str


def activated_sockets(environment: MutableMapping[str, str]) -> list[ActivatedSocket]:
    """Take over the sockets that were passed to this process, if any were.

    The variables that tell of them are removed, so that no child takes them for its own.

    Args:
        environment: of this process.

    Raises:
        ListenError: something else was passed.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()):
        return []  # meant for a parent that did not remove them
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
        for each in passed:
            each.socket.close()
        raise
    return passed


class Notifier:
    """Tells the service manager what the server is doing; without one, does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Open the socket to send from, to be used however short of descriptors we get.

        Args:
            environment: of this process.
        """
        self._address = _socket_address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._watchdog_seconds = _watchdog_seconds(environment)
        if self._address:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @property
    def watchdog_seconds(self) -> float | None:
        """How long the manager waits for a `watchdog()` before it kills us; None is for ever."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        """Tell that the server serves, after its start or a reload.

        Args:
            status: one line for `systemctl status`, as with the other calls.
        """
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready()` ends it."""
        # Without the time, systemd 253 and later waits for ever under Type=notify-reload.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """Tell that the server has begun to stop.

        Args:
            status: one line.
            seconds: The longest that the stop takes; the manager waits as long, even if its own
                TimeoutStopSec is shorter.
        """
        extension = f"EXTEND_TIMEOUT_USEC={round((seconds + STOP_MARGIN_SECONDS) * 1e6)}"
        self._send("STOPPING=1", extension, f"STATUS={status}")

    def status(self, text: str) -> None:
        """Tell how things are going."""
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        """Tell that all is well."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        message = "\n".join(each.replace("\n", " ") for each in assignments)
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
        return None  # meant for a parent
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    return int(microseconds) / 1e6
