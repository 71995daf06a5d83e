"""Listening sockets, TCP and Unix: opened here, or taken over from who started the server.

The file of a Unix socket belongs to who bound it, and only its owner removes it: a socket that
systemd has bound serves the next start as well.
"""

import contextlib
import os
import socket
import stat

from fibclient.address import Address
from fibclient.service.errors import ListenError

__all__ = ["address_of", "adopt_listener", "close_listener", "open_listener"]

BACKLOG = 1024
KEEPALIVE_SECONDS = 300
FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


def open_listener(address: Address) -> socket.socket:
    """Return a non-blocking listening socket; accepted sockets inherit its TCP options.

    Raises:
        ListenError: the address is in use, or not ours.
    """
    try:
        return _open_unix(address.path) if address.path else _open_tcp(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
    except UnicodeError as error:  # a host that the domain name system has no form for
        raise ListenError(f"cannot listen on {address}: not the name of a host") from error


def adopt_listener(descriptor: int, name: str) -> socket.socket:
    """Return a listening socket that another program has opened, set up as ours are.

    Args:
        descriptor: of the socket; it is closed with the result, and left alone on an error.
        name: what to call it in an error.

    Raises:
        ListenError: it is something else.
    """
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{name} is no socket: {error.strerror or error}") from error
    try:
        is_fit = (
            listener.family in FAMILIES
            and listener.type == socket.SOCK_STREAM
            and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
        if not is_fit:
            raise ListenError(f"{name} is no listening stream socket, TCP or Unix")
        os.set_inheritable(descriptor, False)
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            _set_options(listener)
        return listener
    except BaseException:
        listener.detach()
        raise


def _open_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(listener)
        listener.bind(where)
        return _listen(listener)
    except BaseException:
        listener.close()
        raise


def _set_options(listener: socket.socket) -> None:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)


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
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except (TimeoutError, BlockingIOError):  # its backlog is full: let bind() complain
            return


def address_of(listener: socket.socket) -> Address:
    """Return the address a socket is bound to, with the port the kernel chose."""
    name = listener.getsockname()
    if listener.family != socket.AF_UNIX:
        return Address(*name[:2])
    if isinstance(name, bytes):  # in the abstract namespace: it has no file
        return Address(path="@" + name[1:].decode(errors="backslashreplace"))
    return Address(path=name)


def close_listener(listener: socket.socket, *, is_ours: bool = True) -> None:
    """Close a listening socket.

    Args:
        listener: the socket.
        is_ours: whether `open_listener` made it; the file of a Unix one is then removed.
    """
    address = address_of(listener)
    listener.close()
    if is_ours and address.path:
        with contextlib.suppress(OSError):  # gone already, or no longer ours to remove
            os.unlink(address.path)
