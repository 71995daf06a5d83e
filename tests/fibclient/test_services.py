"""Discovery of servers by SRV records, with a real name server."""

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
from tests.support.servers import RunningServer

NAME = "_fibserver._tcp.example.org"
SERVICE = Address(service=NAME)


class NameServer:
    """Name server for one name.

    Attributes:
        records: SRV records of the name: priority, weight, port and host.
        port: UDP port on 127.0.0.1.
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
        """Stop the server and join its thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """Run the name server that dnspython queries."""
    server = NameServer()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server.port
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield server
    server.stop()


def test_only_lowest_priority_number_is_used(names: NameServer) -> None:
    """Only servers with the lowest priority number are used; weights are ignored."""
    names.records = ["10 0 11235 127.0.0.2.", "10 9 11236 127.0.0.3.", "20 0 11235 127.0.0.4."]
    found = resolve(SERVICE)
    assert {target.name for target in found} == {("127.0.0.2", 11235), ("127.0.0.3", 11236)}
    assert all(target.address == SERVICE for target in found)
    assert {str(target) for target in found} == {
        f"srv:{NAME} (127.0.0.2:11235)",
        f"srv:{NAME} (127.0.0.3:11236)",
    }


def test_unknown_service_is_named_in_error(names: NameServer) -> None:
    """The error for an unknown service has its name."""
    assert not names.records
    with pytest.raises(ServerUnreachable, match=f"cannot resolve srv:{NAME}"):
        resolve(SERVICE)


def test_unknown_server_of_service_is_skipped(names: NameServer) -> None:
    """Servers with unknown names are left out; if none is left, the error has the name."""
    names.records = ["1 0 5 nobody.invalid.", "1 0 5 127.0.0.2.", "1 9 5 127.0.0.2."]
    assert [target.name for target in resolve(SERVICE)] == [("127.0.0.2", 5)]
    names.records = ["1 0 5 nobody.invalid."]
    with pytest.raises(ServerUnreachable, match=rf"srv:{NAME}.*nobody\.invalid:5"):
        resolve(SERVICE)


def test_service_declared_unavailable(names: NameServer) -> None:
    """A record may declare the service unavailable."""
    names.records = ["0 0 0 ."]
    with pytest.raises(ServerUnreachable, match="declare it unavailable"):
        resolve(SERVICE)


def test_missing_dnspython_is_named_in_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error without dnspython has the command that installs it."""
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    with pytest.raises(ServerUnreachable, match=r"pip install 'fibservice\[srv\]'"):
        resolve(SERVICE)


def test_client_follows_changed_records(
    names: NameServer, serve: Callable[..., RunningServer]
) -> None:
    """A running client follows changes of the records."""
    first, second = serve(), serve()
    names.records = [f"1 0 {first.port} 127.0.0.1."]
    with FibClient(f"srv:{NAME}", cache_bytes=0) as client:
        assert client.number(10) == 55
        names.records = [f"1 0 {second.port} 127.0.0.1."]
        first.stop()
        assert client.number(20) == 6765
