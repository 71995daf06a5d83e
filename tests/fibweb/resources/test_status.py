"""Tests for `/status`."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from falcon import testing

from fibclient import FibClient
from fibclient.transport.resolver import resolve
from fibcommon.addresses import Address, ResolvedAddress, parse_addresses
from fibweb import create_app
from fibweb.content.fetch_request import WouldBlock
from fibweb.resources.health import LivenessResource, ReadinessResource
from fibweb.resources.metrics import MetricsResource
from fibweb.resources.status import ServerProbes, StatusResource
from fibweb.stats.metric_values import MetricValues, Samples
from tests.support.fibweb_process import get, status
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

Serve = Callable[..., RunningServer]

GAUGES: Samples = {
    (name,): 0.0
    for name in ("in_flight", "connections", "processes", "memory_bytes", "cache_bytes")
}
COUNTERS: Samples = {(f"cache_{name}",): 0.0 for name in ("hits", "extensions", "misses")}


def test_status_has_all_values(server: RunningServer, serve_web: Serve) -> None:
    """The status has all values that the page shows."""
    web = serve_web("--servers", server.address)
    for _ in range(10):
        get(web, "/fib/10")
    found = status(web)
    (only,) = found["servers"]
    assert only["name"] == "fibserver 1"
    assert server.address not in json.dumps(found), "addresses are not published"
    assert only["state"] == "up"
    assert only["workers"] == len(server.workers())
    assert only["succeeded"] >= 1
    assert only["failed"] == only["in_flight"] == 0
    assert 0 < only["resident_bytes"] <= only["memory_limit_bytes"] == 512 * 2**20
    assert only["clients"] >= 1
    assert only["requests_total"] >= 1
    assert only["workers_busy"] >= 0
    assert found["requests_total"] >= 10
    assert found["in_flight"] >= 1
    assert 0 < found["latency_seconds"]["p50"] <= found["latency_seconds"]["p99"]
    assert found["memory_bytes"] > 1e6
    assert found["cache"]["extensions"] == 1
    assert found["cache"]["size_bytes"] > 0


def test_status_shows_outage_and_recovery(serve: Serve, serve_web: Serve, tmp_path: Path) -> None:
    """The status shows an unavailable fibserver, without its address, and its return."""
    address = f"unix:{tmp_path / 'socket'}"
    fibserver = serve("--listen", address)
    web = serve_web("--servers", address)
    get(web, "/fib/10")
    assert status(web)["servers"][0]["state"] == "up"
    fibserver.stop()

    def state() -> str:
        return str(status(web)["servers"][0]["state"])

    wait_until(lambda: state() == "down", "down")
    assert str(tmp_path) not in json.dumps(status(web))
    serve("--listen", address)
    wait_until(lambda: state() == "up", "up")
    assert get(web, "/fib/3") == b'{"N": 3, "result": ["0","1","1"]}'


def test_status_shows_unresolved_name(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status shows a host name that is not resolved, and the other fibservers."""
    stuck = threading.Event()

    def resolver(address: Address) -> list[ResolvedAddress]:
        if address.host == "slow.example":
            stuck.wait()
            return []
        return resolve(address)

    monkeypatch.setattr("fibweb.resources.status.resolve", resolver)
    probes = ServerProbes(parse_addresses(f"slow.example:1,{server.address}"), None)
    replies = probes.poll()
    probes.close()
    stuck.set()
    assert replies["slow.example:1"] == "timed out resolving slow.example:1"
    assert isinstance(replies[server.address], dict)


class Asked(ServerProbes):
    """Probes that wait for the test."""

    def __init__(self) -> None:
        super().__init__(parse_addresses("127.0.0.1:1"), None)
        self.times = 0
        self.is_asking = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def poll(self) -> dict[str, dict[str, str] | str]:
        """Count the call, and wait for the test."""
        self.times += 1
        self.is_asking.set()
        assert self.may_answer.wait(30)
        return {"127.0.0.1:1": {"workers": str(self.times)}}


@pytest.fixture
def asked() -> Asked:
    """Probes."""
    return Asked()


@pytest.fixture
def client() -> Iterator[FibClient]:
    """A client whose fibserver does not exist."""
    with FibClient("127.0.0.1:1") as client:
        yield client


@pytest.fixture
def resource(client: FibClient, asked: Asked) -> StatusResource:
    """A status resource with constant metric values."""
    return StatusResource(lambda: MetricValues(COUNTERS, GAUGES), client, asked)


@pytest.fixture
def app(client: FibClient, resource: StatusResource) -> testing.TestClient:
    """An application with the status resource."""
    return testing.TestClient(create_app(client, resources={"/status": resource}))


def would_block(_: object) -> None:
    """Raise `WouldBlock`, as on an event loop."""
    raise WouldBlock


def workers(result: testing.Result) -> int:
    """Return the value from the first reply to the probes."""
    return int(json.loads(result.content)["servers"][0]["workers"])


def test_status_requests_share_probes(app: testing.TestClient, asked: Asked) -> None:
    """The fibservers are probed once, and then requests do not wait."""
    with pytest.raises(WouldBlock):
        app.simulate_get("/status", extras={"fibweb.fetch": would_block})
    assert asked.times == 0
    assert [workers(app.simulate_get("/status")) for _ in range(5)] == [1] * 5
    assert workers(app.simulate_get("/status", extras={"fibweb.fetch": would_block})) == 1


@pytest.mark.parametrize("path", ["/status", "/metrics", "/healthz", "/readyz", "/limits"])
def test_if_match_of_responses_without_tag(
    server: RunningServer, resource: StatusResource, path: str
) -> None:
    """A response without an entity tag has none that If-Match could list."""
    with FibClient(server.address) as client:
        resources = {
            "/status": resource,
            "/metrics": MetricsResource(lambda: MetricValues({}, {})),
            "/healthz": LivenessResource(),
            "/readyz": ReadinessResource(client),
        }
        app = testing.TestClient(create_app(client, resources=resources))
        assert app.simulate_get(path, headers={"If-Match": "*"}).status_code == 200
        result = app.simulate_get(path, headers={"If-Match": '"x"'})
    assert result.status_code == 412
    assert "omit If-Match" in result.json["detail"]


def test_requests_during_probe_get_previous_status(
    app: testing.TestClient, asked: Asked, resource: StatusResource
) -> None:
    """During a probe of a slow fibserver, requests receive the previous status."""
    assert workers(app.simulate_get("/status")) == 1
    asked.is_asking.clear()
    asked.may_answer.clear()
    refresher = threading.Thread(target=resource.refresh)
    refresher.start()
    try:
        assert asked.is_asking.wait(30)
        assert workers(app.simulate_get("/status")) == 1
    finally:
        asked.may_answer.set()
        refresher.join()
    assert workers(app.simulate_get("/status")) == 2


def test_no_probes_without_status_requests(resource: StatusResource, asked: Asked) -> None:
    """Without requests for the status, the fibservers are not probed."""
    resource.refresh()
    assert asked.times == 0
