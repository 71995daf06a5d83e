"""Listening sockets, TCP and Unix: opened here or passed by a supervisor.

`remove_socket_file` removes the file of a Unix socket only if it still is the file that was
created here, by device and inode. Call it while the socket is open: until then the kernel does not
reuse the inode.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

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
"""As in Redis: a peer that has vanished is detected after ten minutes of silence."""

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

PORT_TRIES = 10
"""The port that the kernel chooses for one address of a host may be in use on another."""

_REMEDIES = {
    errno.EACCES: "choose a directory that this user can write to, or a port from 1024 on",
    errno.EADDRNOTAVAIL: "choose one of this machine's addresses (`ip address`), or 0.0.0.0",
    errno.ENOENT: "create the directory of the socket first",
    errno.ENOTDIR: "choose a path in a directory",
}
"""Remedies by the errno of a failed bind()."""

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for an address that this machine does not have, such as ::1 without IPv6."""

WILDCARDS = ("0.0.0.0", "::")


class _UnixListener(socket.socket):
    """A listening Unix socket that was bound here.

    Attributes:
        path: Path of its file.
        file_id: Device and inode of the file; None once it is removed.
    """

    path = ""
    file_id: tuple[int, int] | None = None


class _SocketAddress(NamedTuple):
    """An address to bind.

    Attributes:
        family: AF_INET or AF_INET6.
        name: Argument of bind().
    """

    family: int
    name: tuple[Any, ...]


def open_listeners(addresses: Sequence[Address], option: str = "--listen") -> list[socket.socket]:
    """Open non-blocking listening sockets; accepted sockets inherit their TCP options.

    A host name is opened on all of its addresses, with the same port; addresses that the machine
    does not have are skipped if there are others. `[::]` serves IPv4 clients as well, unless an
    IPv4 address with the same port is listed.

    Args:
        addresses: Addresses to listen on; duplicates are opened once.
        option: Command line option that sets them, for error messages.

    Raises:
        ListenError: An address is in use or cannot be bound.
    """
    with contextlib.ExitStack() as undo:
        resolved = [(address, [] if address.path else _resolve(address)) for address in addresses]
        ipv4_ports = {
            name[1]
            for _, socket_addresses in resolved
            for family, name in socket_addresses
            if family == socket.AF_INET
        }
        opened: list[socket.socket] = []
        seen: set[_SocketAddress] = set()
        for address, socket_addresses in resolved:
            fresh = [
                candidate
                for candidate in socket_addresses
                if not candidate.name[1] or candidate not in seen
            ]
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


def _resolve(address: Address) -> list[_SocketAddress]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: {error.strerror or error}; correct the name, or use an "
            "IP address"
        ) from error
    except UnicodeError as error:  # it cannot be encoded as a domain name
        raise ListenError(f"cannot listen on {address}: not a valid host name") from error
    return list(dict.fromkeys(_SocketAddress(entry[0], entry[4]) for entry in found))


def _explain(error: OSError, address: Address, option: str) -> str:
    """Return why a bind failed and a remedy; for an address in use also the process."""
    text = error.strerror or str(error)
    if error.errno != errno.EADDRINUSE:
        remedy = _REMEDIES.get(error.errno or 0)
        return f"{text}; {remedy}" if remedy else text
    holder = _holder_of_path(address.path) if address.path else _holder_of_port(address)
    if address.path:
        return f"{text}{holder}; choose another path with {option} unix:/path"
    return f"{text}{holder}; choose another port with {option} HOST:PORT"


def _holder_of_path(path: str) -> str:
    """Return the process that listens on a Unix socket as ` by NAME (pid N)`, or ""."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:  # its backlog is full, or it is not a socket
            return ""
    return _process_text(struct.unpack("3i", credentials)[0])


def _holder_of_port(address: Address) -> str:
    """Return who listens on a TCP port, such as ` by NAME (pid N)`; "" if unknown."""
    import psutil  # its import takes 15 ms, and only this error message needs it

    try:
        listening = [
            (entry.laddr.ip, entry.pid)
            for entry in psutil.net_connections("tcp")
            if entry.status == psutil.CONN_LISTEN
            and entry.laddr
            and entry.laddr.port == address.port
        ]
    except (OSError, psutil.Error):
        return ""
    # Other processes may listen on the same port of other addresses.
    conflicting = [(ip, pid) for ip, pid in listening if ip in (address.host, *WILDCARDS)]
    for _, pid in conflicting or listening:
        return " by a process of another user" if pid is None else _process_text(pid)
    return ""


def _process_text(pid: int) -> str:
    import psutil  # as above

    try:
        return f" by {psutil.Process(pid).name()} (pid {pid})"
    except (psutil.Error, ValueError):  # it has ended or is outside of this container
        return ""


def adopt_listener(descriptor: int, name: str) -> socket.socket:
    """Return a listening socket that another program opened, with the options set as here.

    Args:
        descriptor: Descriptor of the socket. The result owns it; on an error it stays open.
        name: Description of the socket for error messages.

    Raises:
        ListenError: The descriptor is not a listening stream socket.
    """
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{name} is not a socket: {error.strerror or error}") from error
    try:
        is_valid = (
            listener.family in FAMILIES
            and listener.type == socket.SOCK_STREAM
            and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
        if not is_valid:
            raise ListenError(f"{name} is not a listening stream socket (TCP or Unix)")
        os.set_inheritable(descriptor, False)
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            _set_options(listener)
        return listener
    except BaseException:
        listener.detach()
        raise


def _open_tcp(addresses: Sequence[_SocketAddress], *, ipv6_only: bool) -> list[socket.socket]:
    """Listen on those of the addresses that the machine has, with the same port."""
    for tries_left in reversed(range(PORT_TRIES)):
        try:
            return _open_all(addresses, ipv6_only=ipv6_only)
        except OSError as error:
            kernel_chooses = not addresses[0].name[1]
            if error.errno != errno.EADDRINUSE or not kernel_chooses or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _open_all(addresses: Sequence[_SocketAddress], *, ipv6_only: bool) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    port = 0
    with contextlib.ExitStack() as undo:
        for family, name in addresses:
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
    """Remove a socket file on which no process listens, as after a kill -9."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        return  # not a socket: bind() will fail
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            # Another server may have replaced the file meanwhile.
            if _file_id(path) == (status.st_dev, status.st_ino):
                os.unlink(path)
        except (TimeoutError, BlockingIOError):  # its backlog is full: bind() will fail
            return


def address_of(listener: socket.socket) -> Address:
    """Return the address that a socket is bound to, with the port that the kernel chose."""
    name = listener.getsockname()
    if listener.family != socket.AF_UNIX:
        return Address(*name[:2])
    if isinstance(name, bytes):  # in the abstract namespace, without a file
        return Address(path="@" + name[1:].decode(errors="backslashreplace"))
    return Address(path=name)


def close_listener(listener: socket.socket) -> None:
    """Close a listening socket and remove its file, if `open_listeners` created it."""
    remove_socket_file(listener)
    listener.close()


def remove_socket_file(listener: socket.socket) -> None:
    """Remove the file of a Unix socket that `open_listeners` created; do nothing for others.

    Call this before the socket is closed. A file with which another server replaced it stays.
    """
    if not isinstance(listener, _UnixListener) or listener.file_id is None:
        return
    with contextlib.suppress(OSError):  # already removed, or no permission
        if _file_id(listener.path) == listener.file_id:
            os.unlink(listener.path)
    listener.file_id = None
