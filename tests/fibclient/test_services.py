"""SRV records: servers by the name of their service, from a real name server."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator

import dns.message
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from fibclient import FibClient, ServerUnreachable
from fibclient.transport.resolver import resolve
from fibcommon.addresses import Address
from tests.servers import RunningServer

NAME = "_fibserver._tcp.example.org"
SERVICE = Address(service=NAME)


class NameServer:
    """Knows one name.

    Attributes:
        records: its SRV records: priority, weight, port and host.
        port: of 127.0.0.1, UDP.
    """

    def __init__(self) -> None:
        self.records: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            reply = dns.message.make_response(query)
            asked = query.question[0]
            if str(asked.name) == f"{NAME}." and self.records:
                reply.answer.append(
                    dns.rrset.from_text(asked.name, 60, "IN", "SRV", *self.records)
                )
            self._socket.sendto(reply.to_wire(), client)

    def stop(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """The name server that dnspython asks."""
    server = NameServer()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server.port
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield server
    server.stop()


def test_the_first_priority(names: NameServer) -> None:
    """Servers of the lowest number are used, whatever their weights; the others are for later."""
    names.records = ["10 0 11235 127.0.0.2.", "10 9 11236 127.0.0.3.", "20 0 11235 127.0.0.4."]
    found = resolve(SERVICE)
    assert {target.name for target in found} == {("127.0.0.2", 11235), ("127.0.0.3", 11236)}
    assert all(target.address == SERVICE for target in found)
    assert {str(target) for target in found} == {
        f"srv:{NAME} (127.0.0.2:11235)",
        f"srv:{NAME} (127.0.0.3:11236)",
    }


def test_a_name_that_nobody_knows(names: NameServer) -> None:
    """The error has the name."""
    assert not names.records
    with pytest.raises(ServerUnreachable, match=f"cannot resolve srv:{NAME}"):
        resolve(SERVICE)


def test_a_server_that_nobody_knows(names: NameServer) -> None:
    """The others are used; if there are no others, the error says which it was."""
    names.records = ["1 0 5 nobody.invalid.", "1 0 5 127.0.0.2.", "1 9 5 127.0.0.2."]
    assert [target.name for target in resolve(SERVICE)] == [("127.0.0.2", 5)]
    names.records = ["1 0 5 nobody.invalid."]
    with pytest.raises(ServerUnreachable, match=rf"srv:{NAME}.*nobody\.invalid:5"):
        resolve(SERVICE)


def test_a_service_that_is_not_to_be_had(names: NameServer) -> None:
    """A record may say so."""
    names.records = ["0 0 0 ."]
    with pytest.raises(ServerUnreachable, match="declare it unavailable"):
        resolve(SERVICE)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    with pytest.raises(ServerUnreachable, match=r"pip install 'fibservice\[srv\]'"):
        resolve(SERVICE)


def test_a_client_follows(names: NameServer, serve: Callable[..., RunningServer]) -> None:
    """Servers come and go with the records, without a restart of the client."""
    first, second = serve(), serve()
    names.records = [f"1 0 {first.port} 127.0.0.1."]
    with FibClient(f"srv:{NAME}", cache_bytes=0) as client:
        assert client.number(10) == 55
        names.records = [f"1 0 {second.port} 127.0.0.1."]
        first.stop()
        assert client.number(20) == 6765
