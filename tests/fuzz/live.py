"""Inputs to a real server through real sockets."""

import re
import socket
from contextlib import closing
from random import Random

from fibcommon.addresses import Address
from tests.fuzz.harness import FuzzFailure
from tests.fuzz.reply_parser import MalformedReplyError, parse_replies

__all__ = ["assert_serves", "attack"]

TIMEOUT_SECONDS = 30
"""Far above anything seen: reaching it is a failure, not a slow machine."""

MAX_READ_BYTES = 4 * 1024 * 1024
"""Replies can have gigabytes with default limits; no more than this is read of one."""

_RESET = b"\1\0\0\0\0\0\0\0"
"""The value of SO_LINGER that makes close() send a reset."""

_KILL = re.compile(rb"kill|\\", re.IGNORECASE)  # the backslash: it may be spelt "\x4bILL"
_HTTP = re.compile(rb"http/|post|host:", re.IGNORECASE)


def _connect(address: Address) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect(address.path)
        return sock
    sock = socket.create_connection((address.host, address.port), TIMEOUT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def assert_serves(address: Address) -> None:
    """Check that a new connection gets a reply."""
    with closing(_connect(address)) as sock:
        sock.sendall(b"PING\r\n")
        reply = b""
        while len(reply) < 7 and (part := sock.recv(7)):
            reply += part
        if reply != b"+PONG\r\n":
            raise FuzzFailure(f"a new connection got {reply!r}")


def attack(address: Address, data: bytes, rng: Random) -> None:
    """Send an input in random pieces, then half-close, close or reset the connection.

    Raises:
        FuzzFailure: The received bytes are not a sequence of replies.
    """
    with closing(_connect(address)) as sock:
        is_cut = bool(_HTTP.search(data))
        # A CLIENT KILL that nobody waits for would hit the connection that comes next.
        may_vanish = not _KILL.search(data)
        try:
            _send(sock, data, rng)
            if rng.random() < 0.15 and may_vanish:
                return
            if rng.random() < 0.15 and may_vanish:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            sock.shutdown(socket.SHUT_WR)
        except TimeoutError as error:
            raise FuzzFailure(f"{data!r}: {error!r}") from error
        except OSError:
            pass  # the server has closed the connection; its replies can still be read
        output, is_whole = _read(sock)
    try:
        replies = parse_replies(output)
    except MalformedReplyError as error:
        raise FuzzFailure(f"{data!r}: {error} in {output[:1000]!r}") from None
    if is_whole and not (replies.is_whole or is_cut):
        raise FuzzFailure(f"{data!r}: the output ends within a reply: {output[-200:]!r}")
    if replies.protocol_errors and not (replies.ends_with_protocol_error and is_whole):
        raise FuzzFailure(f"{data!r}: replies after a protocol error: {output[-1000:]!r}")


def _send(sock: socket.socket, data: bytes, rng: Random) -> None:
    # The kernel buffers a limited number of tiny segments that the server has not read.
    longest = 1 + len(data) // 300 + int(rng.random() ** 2 * 4000)
    position = 0
    while position < len(data):
        end = position + 1 + int(rng.random() * longest)
        sock.sendall(data[position:end])
        position = end


def _read(sock: socket.socket) -> tuple[bytes, bool]:
    """Return the received bytes, and whether they are complete."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < MAX_READ_BYTES:
            part = sock.recv(1 << 16)
            if not part:
                return b"".join(parts), True
            parts.append(part)
            size += len(part)
    except ConnectionResetError:  # we went on sending to a connection that was over
        pass
    except TimeoutError as error:
        raise FuzzFailure(f"no end of it: {error!r}") from error
    return b"".join(parts), False
