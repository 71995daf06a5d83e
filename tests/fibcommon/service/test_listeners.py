"""Listening sockets: options, files, and sockets that other programs opened."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fibcommon.addresses import Address, parse_address
from fibcommon.service.errors import ListenError
from fibcommon.service.listeners import (
    address_of,
    adopt_listener,
    close_listener,
    open_listeners,
    remove_socket_file,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path for a Unix socket."""
    return tmp_path / "socket"


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """A listening TCP socket as another program opens it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def passed(listener: socket.socket) -> int:
    """Return an inheritable descriptor of a socket."""
    descriptor = os.dup(listener.fileno())
    os.set_inheritable(descriptor, True)
    return descriptor


def assert_set_up(listener: socket.socket) -> None:
    """Check the options that the acceptor relies on."""
    assert not listener.getblocking()
    assert not listener.get_inheritable()
    if listener.family != socket.AF_UNIX:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        keepalive = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        options = [listener.getsockopt(socket.IPPROTO_TCP, option) for option in keepalive]
        assert options == [300, 100, 3]


def open_listener(address: Address) -> socket.socket:
    """Listen on an address that has one socket address."""
    (listener,) = open_listeners([address])
    return listener


@contextmanager
def listening(*texts: str) -> Iterator[list[Address]]:
    """Listen on addresses; return the addresses of the sockets."""
    listeners = open_listeners([parse_address(text) for text in texts])
    try:
        yield [address_of(listener) for listener in listeners]
    finally:
        for listener in listeners:
            close_listener(listener)


def names(*hosts: str) -> Callable[..., list[Any]]:
    """Return a getaddrinfo() that resolves every name to these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(_host: str, *rest: Any, **options: Any) -> list[Any]:
        return [found for host in hosts for found in real(host, *rest, **options)]

    return getaddrinfo


def free_port() -> int:
    """Return a port that is free on all addresses."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        return int(sock.getsockname()[1])


def test_tcp_listener_reports_chosen_port() -> None:
    """The address of a TCP listener has the port that the kernel chose."""
    listener = open_listener(Address("127.0.0.1", 0))
    address = address_of(listener)
    assert address.host == "127.0.0.1"
    assert address.port
    assert_set_up(listener)
    close_listener(listener)


def test_closing_unix_listener_removes_file(path: Path) -> None:
    """Closing a Unix listener removes its file."""
    listener = open_listener(Address(path=str(path)))
    assert address_of(listener) == Address(path=str(path))
    assert path.is_socket()
    assert_set_up(listener)
    close_listener(listener)
    assert not path.exists()


def test_listener_with_removed_file_can_be_closed(path: Path) -> None:
    """A Unix listener whose file was removed can be closed."""
    listener = open_listener(Address(path=str(path)))
    path.unlink()
    close_listener(listener)


def test_file_that_is_no_socket_is_kept(path: Path) -> None:
    """A file that is not a socket is not removed."""
    path.write_text("precious")
    with pytest.raises(ListenError, match="Address already in use"):
        open_listener(Address(path=str(path)))
    assert path.read_text() == "precious"


def test_socket_of_server_with_full_backlog_is_kept(path: Path) -> None:
    """The socket of a server whose backlog is full is not removed."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(str(path))
        server.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ListenError, match="Address already in use"):
            open_listener(Address(path=str(path)))
    assert path.is_socket()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("192.0.2.1:1", "; choose one of this machine's addresses (`ip address`), or 0.0.0.0"),
        ("[2001:db8::1]:1", ""),
        ("a..b:1", ""),
        ("nobody.invalid:1", "; correct the name, or use an IP address"),
        ("unix:/nowhere/x", "; create the directory of the socket first"),
        (f"unix:/{'x' * 200}", ""),
    ],
)
def test_foreign_address_is_named_in_error(address: str, remedy: str) -> None:
    """The error for an address that cannot be used names the address, and a remedy if known."""
    with pytest.raises(ListenError) as caught:
        open_listener(parse_address(address))
    assert str(caught.value).startswith(f"cannot listen on {address}: ")
    assert str(caught.value).endswith(remedy)


def test_socket_of_successor_is_kept(path: Path) -> None:
    """A server that ends does not remove the socket of its successor."""
    old = open_listener(Address(path=str(path)))
    path.unlink()
    new = open_listener(Address(path=str(path)))
    close_listener(old)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_listener(new)
    assert not path.exists()


def test_new_file_at_same_path_is_kept(path: Path) -> None:
    """Closing a socket whose file was removed does not remove a new file at its path."""
    old = open_listener(Address(path=str(path)))
    remove_socket_file(old)
    assert not path.exists()
    old.close()
    new = open_listener(Address(path=str(path)))  # it may get the same inode
    close_listener(old)
    assert path.is_socket()
    close_listener(new)


def test_replaced_stale_file_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale file that another server replaces at the same time is not removed."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # nobody listens
        with socket.socket(socket.AF_UNIX) as successor:

            def refuse(_sock: socket.socket, _path: str) -> None:
                if not successor.getsockname():
                    path.rename(path.with_suffix(".old"))
                    successor.bind(str(path))
                    successor.listen()
                raise ConnectionRefusedError

            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "connect", refuse)
                with pytest.raises(ListenError, match="Address already in use"):
                    open_listener(Address(path=str(path)))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))


def test_all_addresses_of_a_name_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of a host name are opened, once each, with the same port."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names("::1", "127.0.0.1", "127.0.0.1"))
        listeners = open_listeners([Address("localhost", 0)])
    addresses = list(map(address_of, listeners))
    assert [address.host for address in addresses] == ["::1", "127.0.0.1"]
    assert len({address.port for address in addresses}) == 1
    for address, listener in zip(addresses, listeners, strict=True):
        socket.create_connection((address.host, address.port)).close()
        close_listener(listener)


def test_missing_address_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that the machine does not have is skipped, such as ::1 without IPv6."""
    monkeypatch.setattr(socket, "getaddrinfo", names("2001:db8::1", "127.0.0.1"))
    with listening("localhost:0") as addresses:
        assert [address.host for address in addresses] == ["127.0.0.1"]


@pytest.mark.parametrize("hosts", [("0.0.0.0", "[::]"), ("[::]", "127.0.0.1"), ("[::]", "[::]")])
def test_both_families_share_a_port(hosts: tuple[str, str]) -> None:
    """`[::]` may be combined with IPv4 addresses of the same port, and listed twice."""
    port = free_port()
    with listening(*(f"{host}:{port}" for host in hosts)):
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_port_in_use_names_process_and_option() -> None:
    """The error names the listening process and the option for another port."""
    with listening("127.0.0.1:0") as addresses, pytest.raises(ListenError) as caught:
        open_listeners(addresses, "--metrics-listen")
    message = str(caught.value)
    assert message.startswith(f"cannot listen on {addresses[0]}: Address already in use by ")
    assert message.endswith(
        f"(pid {os.getpid()}); choose another port with --metrics-listen HOST:PORT"
    )


def test_path_in_use_names_process(path: Path) -> None:
    """The error names the process that listens on a Unix socket."""
    address = Address(path=str(path))
    listener = open_listener(address)
    with pytest.raises(ListenError, match=rf" by .*\(pid {os.getpid()}\); choose another path"):
        open_listener(address)
    close_listener(listener)


def test_nothing_stays_open_after_an_error(path: Path) -> None:
    """If one address fails, the listeners of the others are closed."""
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:1"):
        open_listeners([Address(path=str(path)), Address("192.0.2.1", 1)])
    assert not path.exists()


def test_adopted_tcp_socket_gets_options(tcp: socket.socket) -> None:
    """An adopted socket gets the same options as others."""
    listener = adopt_listener(passed(tcp), "it")
    assert address_of(listener) == Address(*tcp.getsockname())
    assert_set_up(listener)
    close_listener(listener)


def test_adopted_unix_socket_keeps_its_file(path: Path) -> None:
    """The file of an adopted Unix socket is not removed; its owner still listens."""
    with socket.socket(socket.AF_UNIX) as original:
        original.bind(str(path))
        original.listen()
        listener = adopt_listener(passed(original), "it")
        assert_set_up(listener)
        close_listener(listener)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_abstract_address_begins_with_at() -> None:
    """The address of a Unix socket without a file begins with @, as in systemd."""
    with socket.socket(socket.AF_UNIX) as original:
        original.bind(f"\0fibserver-{os.getpid()}")
        assert address_of(original) == Address(path=f"@fibserver-{os.getpid()}")


def test_descriptor_without_listener_is_rejected(tcp: socket.socket) -> None:
    """A descriptor that is not a listening stream socket is rejected and stays open."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_connection(tcp.getsockname()) as connection,
        socket.socket() as unbound,
        open(os.devnull) as file,
    ):
        for item in (datagrams, connection, unbound, file):
            with pytest.raises(ListenError, match=r"^it is not a "):
                adopt_listener(item.fileno(), "it")
            os.fstat(item.fileno())
    with pytest.raises(ListenError, match=r"^it is not a socket: Bad file descriptor"):
        adopt_listener(2**20, "it")
