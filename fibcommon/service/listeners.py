"""Listening sockets, TCP and Unix: opened here, or taken over from who started the server.

The file of a Unix socket belongs to the process that bound it. `remove_socket_file` removes it
only if it is still the file that was created here, by device and inode. It is called while the
socket is open: until then the kernel gives that inode to no other file.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil

from fibcommon.addresses import Address
from fibcommon.service.errors import ListenError

__all__ = [
    "address_of",
    "adopt_listener",
    "close_listener",
    "open_listeners",
    "remove_socket_file",
]

BACKLOG = 1024
KEEPALIVE_SECONDS = 300
KEEPALIVE_INTERVAL_SECONDS = 100
KEEPALIVE_PROBES = 3
"""As Redis: a peer that has vanished without a word is noticed after ten minutes of silence."""

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

PORT_TRIES = 10
"""A port that the kernel chose on one address of a name may be in use on another of them."""

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors of an address that this machine lacks, such as ::1 in a container without IPv6."""

WILDCARDS = ("0.0.0.0", "::")


class _UnixListener(socket.socket):
    """A listening Unix socket that was bound here.

    Attributes:
        path: of its file.
        file_id: device and inode of that file; None once it was removed.
    """

    path = ""
    file_id: tuple[int, int] | None = None


class _Endpoint(NamedTuple):
    """A socket address.

    Attributes:
        family: AF_INET or AF_INET6.
        name: what bind() takes.
    """

    family: int
    name: tuple[Any, ...]


def open_listeners(addresses: Sequence[Address], option: str = "--listen") -> list[socket.socket]:
    """Return non-blocking listening sockets; accepted sockets inherit their TCP options.

    All addresses of a host's name are listened on, at the same port; those that the machine lacks
    are skipped if there are others. `[::]` serves IPv4 clients as well, unless an IPv4 address
    with the same port is listed.

    Args:
        addresses: where to listen; a socket address that is listed twice counts once.
        option: the option of the command line that they come from, for errors.

    Raises:
        ListenError: an address is in use, or not ours.
    """
    with contextlib.ExitStack() as undo:
        resolved = [(each, [] if each.path else _resolve(each)) for each in addresses]
        ipv4_ports = {
            endpoint.name[1]
            for _, endpoints in resolved
            for endpoint in endpoints
            if endpoint.family == socket.AF_INET
        }
        opened: list[socket.socket] = []
        seen: set[_Endpoint] = set()
        for address, endpoints in resolved:
            fresh = [each for each in endpoints if not each.name[1] or each not in seen]
            seen.update(fresh)
            if not address.path and not fresh:
                continue
            try:
                if address.path:
                    listeners = [_open_unix(address.path)]
                else:
                    listeners = _open_tcp(fresh, ipv6_only=address.port in ipv4_ports)
            except OSError as error:
                raise ListenError(
                    f"cannot listen on {address}: {_explain(error, address, option)}"
                ) from error
            for listener in listeners:
                undo.callback(close_listener, listener)
            opened += listeners
        undo.pop_all()
    return opened


def _resolve(address: Address) -> list[_Endpoint]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
    except UnicodeError as error:  # a host that the domain name system has no form for
        raise ListenError(f"cannot listen on {address}: not the name of a host") from error
    return list(dict.fromkeys(_Endpoint(entry[0], entry[4]) for entry in found))


def _explain(error: OSError, address: Address, option: str) -> str:
    """Return why a bind failed and, of an address in use, by whom and what to do."""
    text = error.strerror or str(error)
    if error.errno != errno.EADDRINUSE:
        return text
    holder = _holder_of_path(address.path) if address.path else _holder_of_port(address)
    if address.path:
        return f"{text}{holder}; choose another path with {option} unix:/path"
    return f"{text}{holder}; choose another port with {option} HOST:PORT"


def _holder_of_path(path: str) -> str:
    """Return who listens on a Unix socket, as ` by NAME (pid N)`; empty if that is unknown."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:  # it is full, or no socket
            return ""
    return _process_text(struct.unpack("3i", credentials)[0])


def _holder_of_port(address: Address) -> str:
    """Return who listens on a TCP port, as ` by NAME (pid N)`; empty if that is unknown."""
    try:
        listening = [
            (each.laddr.ip, each.pid)
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == address.port
        ]
    except (OSError, psutil.Error):
        return ""
    # Others may listen at other addresses of the machine, at the same port.
    nearest = [each for each in listening if each[0] in (address.host, *WILDCARDS)]
    for _, pid in nearest or listening:
        return " by a process of another user" if pid is None else _process_text(pid)
    return ""


def _process_text(pid: int) -> str:
    try:
        return f" by {psutil.Process(pid).name()} (pid {pid})"
    except (psutil.Error, ValueError):  # it has ended, or is outside of this container
        return ""


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


def _open_tcp(endpoints: Sequence[_Endpoint], *, ipv6_only: bool) -> list[socket.socket]:
    """Listen on all of some socket addresses that the machine has, at one port."""
    for tries_left in reversed(range(PORT_TRIES)):
        try:
            return _open_all(endpoints, ipv6_only=ipv6_only)
        except OSError as error:
            is_chosen = not endpoints[0].name[1]
            if error.errno != errno.EADDRINUSE or not is_chosen or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _open_all(endpoints: Sequence[_Endpoint], *, ipv6_only: bool) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    port = 0
    with contextlib.ExitStack() as undo:
        for family, name in endpoints:
            try:
                listener = _open_one(family, (name[0], name[1] or port, *name[2:]), ipv6_only)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
            else:
                undo.callback(listener.close)
                listeners.append(listener)
                port = listener.getsockname()[1]
        if absent is not None and not listeners:
            raise absent
        undo.pop_all()
    return listeners


def _open_one(family: int, name: tuple[Any, ...], ipv6_only: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(listener)
        listener.bind(name)
        return _listen(listener)
    except BaseException:
        listener.close()
        raise


def _set_options(listener: socket.socket) -> None:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def _open_unix(path: str) -> socket.socket:
    listener = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale_socket(path)
        listener.bind(path)
        listener.path, listener.file_id = path, _file_id(path)
        return _listen(listener)
    except BaseException:
        listener.close()
        raise


def _file_id(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _listen(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.listen(BACKLOG)
    return listener


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file whose server is gone, as after a kill -9."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        return  # someone's file: let bind() complain
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            # Another server may have replaced it meanwhile.
            if _file_id(path) == (status.st_dev, status.st_ino):
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


def close_listener(listener: socket.socket) -> None:
    """Close a listening socket; remove its file, if `open_listeners` created it."""
    remove_socket_file(listener)
    listener.close()


def remove_socket_file(listener: socket.socket) -> None:
    """Remove the file of a Unix socket that `open_listeners` created; do nothing for others.

    Call it before the socket is closed. A file that another server has put in its place stays.
    """
    if not isinstance(listener, _UnixListener) or listener.file_id is None:
        return
    with contextlib.suppress(OSError):  # gone already, or no longer ours to remove
        if _file_id(listener.path) == listener.file_id:
            os.unlink(listener.path)
    listener.file_id = None
