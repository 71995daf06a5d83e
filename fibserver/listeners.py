"""Listening sockets: TCP and Unix."""

import contextlib
import os
import socket
import stat

from fibclient.address import Address

__all__ = ["ListenError", "address_of", "close_listener", "open_listener"]

BACKLOG = 1024
KEEPALIVE_SECONDS = 300


class ListenError(Exception):
    """An address that cannot be listened on."""


def open_listener(address: Address) -> socket.socket:
    """Return a non-blocking listening socket; accepted sockets inherit its TCP options.

    Raises:
        ListenError: the address is in use, or not ours.
    """
    try:
        return _open_unix(address.path) if address.path else _open_tcp(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error


def _open_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        listener.bind(where)
        return _listen(listener)
    except BaseException:
        listener.close()
        raise


def _open_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale_socket(path)
        listener.bind(path)
        return _listen(listener)
    except BaseException:
        listener.close()
        raise


def _listen(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.listen(BACKLOG)
    return listener


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file whose server is gone, as after a kill -9."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # someone's file: let bind() complain
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)  # a server whose backlog is full does not answer
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except TimeoutError:
            return


def address_of(listener: socket.socket) -> Address:
    """Return the address a socket is bound to, with the port the kernel chose."""
    name = listener.getsockname()
    return Address(path=name) if listener.family == socket.AF_UNIX else Address(*name[:2])


def close_listener(listener: socket.socket) -> None:
    """Close a listening socket, and remove the file of a Unix one."""
    address = address_of(listener)
    listener.close()
    if address.path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.path)
