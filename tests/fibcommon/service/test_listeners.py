"""Listening sockets: options, files, and sockets that others have opened."""

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
    """Where a Unix socket can be."""
    return tmp_path / "socket"


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """A listening TCP socket as another program makes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def passed(listener: socket.socket) -> int:
    """Return a descriptor of a socket as a program inherits it."""
    descriptor = os.dup(listener.fileno())
    os.set_inheritable(descriptor, True)
    return descriptor


def assert_set_up(listener: socket.socket) -> None:
    """Fail unless a listener has what the acceptor relies on."""
    assert not listener.getblocking()
    assert not listener.get_inheritable()
    if listener.family != socket.AF_UNIX:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        keepalive = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        options = [listener.getsockopt(socket.IPPROTO_TCP, option) for option in keepalive]
        assert options == [300, 100, 3]


def open_listener(address: Address) -> socket.socket:
    """Return the only listening socket of an address."""
    (listener,) = open_listeners([address])
    return listener


@contextmanager
def listening(*texts: str) -> Iterator[list[Address]]:
    """Listen at some addresses; return those of the sockets."""
    listeners = open_listeners([parse_address(text) for text in texts])
    try:
        yield [address_of(listener) for listener in listeners]
    finally:
        for listener in listeners:
            close_listener(listener)


def names(*hosts: str) -> Callable[..., list[Any]]:
    """Return a getaddrinfo() for which every name has these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(_host: str, *rest: Any, **options: Any) -> list[Any]:
        return [found for host in hosts for found in real(host, *rest, **options)]

    return getaddrinfo


def free_port() -> int:
    """Return a port that is free on all addresses."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        return int(sock.getsockname()[1])


def test_tcp() -> None:
    """A TCP listener tells the port that the kernel chose."""
    listener = open_listener(Address("127.0.0.1", 0))
    address = address_of(listener)
    assert address.host == "127.0.0.1"
    assert address.port
    assert_set_up(listener)
    close_listener(listener)


def test_unix(path: Path) -> None:
    """The file of a Unix listener goes with it."""
    listener = open_listener(Address(path=str(path)))
    assert address_of(listener) == Address(path=str(path))
    assert path.is_socket()
    assert_set_up(listener)
    close_listener(listener)
    assert not path.exists()


def test_a_removed_file(path: Path) -> None:
    """A Unix listener whose file someone has removed closes all the same."""
    listener = open_listener(Address(path=str(path)))
    path.unlink()
    close_listener(listener)


def test_someones_file(path: Path) -> None:
    """A file that is no socket is left alone."""
    path.write_text("precious")
    with pytest.raises(ListenError, match="Address already in use"):
        open_listener(Address(path=str(path)))
    assert path.read_text() == "precious"


def test_a_busy_server(path: Path) -> None:
    """A server whose backlog is full still owns its address."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(str(path))
        server.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ListenError, match="Address already in use"):
            open_listener(Address(path=str(path)))
    assert path.is_socket()


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1:1", "[2001:db8::1]:1", "a..b:1", "unix:/nowhere/x", f"unix:/{'x' * 200}"],
)
def test_errors(address: str) -> None:
    """An address that is not ours is refused with the address."""
    with pytest.raises(ListenError) as caught:
        open_listener(parse_address(address))
    assert str(caught.value).startswith(f"cannot listen on {address}: ")


def test_a_successors_file(path: Path) -> None:
    """A server that ends leaves alone what its successor has put in the place of its socket."""
    old = open_listener(Address(path=str(path)))
    path.unlink()
    new = open_listener(Address(path=str(path)))
    close_listener(old)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_listener(new)
    assert not path.exists()


def test_a_file_is_removed_once(path: Path) -> None:
    """A socket whose file was removed before it was closed has no claim to the path any more."""
    old = open_listener(Address(path=str(path)))
    remove_socket_file(old)
    assert not path.exists()
    old.close()
    new = open_listener(Address(path=str(path)))  # the file system may give it the same inode
    close_listener(old)
    assert path.is_socket()
    close_listener(new)


def test_a_stale_file_that_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale file that another server replaces while it is examined stays."""
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


def test_all_addresses_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is listened on at all of its addresses, each once, at the same port."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names("::1", "127.0.0.1", "127.0.0.1"))
        listeners = open_listeners([Address("localhost", 0)])
    addresses = list(map(address_of, listeners))
    assert [each.host for each in addresses] == ["::1", "127.0.0.1"]
    assert len({each.port for each in addresses}) == 1
    for address, listener in zip(addresses, listeners, strict=True):
        socket.create_connection((address.host, address.port)).close()
        close_listener(listener)


def test_an_address_that_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of a name that is not there is skipped, as ::1 where there is no IPv6."""
    monkeypatch.setattr(socket, "getaddrinfo", names("2001:db8::1", "127.0.0.1"))
    with listening("localhost:0") as addresses:
        assert [each.host for each in addresses] == ["127.0.0.1"]


@pytest.mark.parametrize("hosts", [("0.0.0.0", "[::]"), ("[::]", "127.0.0.1"), ("[::]", "[::]")])
def test_both_families_at_one_port(hosts: tuple[str, str]) -> None:
    """`[::]` goes with IPv4 addresses of the same port, and may be listed twice."""
    port = free_port()
    with listening(*(f"{host}:{port}" for host in hosts)):
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_a_port_in_use() -> None:
    """The error names who listens there, and the option that chooses another port."""
    with listening("127.0.0.1:0") as addresses, pytest.raises(ListenError) as caught:
        open_listeners(addresses, "--metrics-listen")
    message = str(caught.value)
    assert message.startswith(f"cannot listen on {addresses[0]}: Address already in use by ")
    assert message.endswith(
        f"(pid {os.getpid()}); choose another port with --metrics-listen HOST:PORT"
    )


def test_a_path_in_use(path: Path) -> None:
    """The error names who listens there."""
    address = Address(path=str(path))
    listener = open_listener(address)
    with pytest.raises(ListenError, match=rf" by .*\(pid {os.getpid()}\); choose another path"):
        open_listener(address)
    close_listener(listener)


def test_nothing_stays_open_after_an_error(path: Path) -> None:
    """If one address cannot be listened on, the others are let go of."""
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:1"):
        open_listeners([Address(path=str(path)), Address("192.0.2.1", 1)])
    assert not path.exists()


def test_adopted_tcp(tcp: socket.socket) -> None:
    """A socket from elsewhere is set up as ours are."""
    listener = adopt_listener(passed(tcp), "it")
    assert address_of(listener) == Address(*tcp.getsockname())
    assert_set_up(listener)
    close_listener(listener)


def test_adopted_unix(path: Path) -> None:
    """The file of a Unix socket from elsewhere stays: who bound it still listens."""
    with socket.socket(socket.AF_UNIX) as original:
        original.bind(str(path))
        original.listen()
        listener = adopt_listener(passed(original), "it")
        assert_set_up(listener)
        close_listener(listener)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_abstract_addresses() -> None:
    """A Unix socket without a file is shown as systemd writes it."""
    with socket.socket(socket.AF_UNIX) as original:
        original.bind(f"\0fibserver-{os.getpid()}")
        assert address_of(original) == Address(path=f"@fibserver-{os.getpid()}")


def test_what_cannot_be_adopted(tcp: socket.socket) -> None:
    """What is no listening stream socket is refused, and left open for its owner."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_connection(tcp.getsockname()) as connection,
        socket.socket() as unbound,
        open(os.devnull) as file,
    ):
        for each in (datagrams, connection, unbound, file):
            with pytest.raises(ListenError, match=r"^it is no "):
                adopt_listener(each.fileno(), "it")
            os.fstat(each.fileno())
    with pytest.raises(ListenError, match=r"^it is not a socket: Bad file descriptor"):
        adopt_listener(2**20, "it")
