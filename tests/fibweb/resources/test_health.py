"""Tests for `/healthz` and `/readyz`."""

import json
import threading

import pytest
from falcon import testing

from fibclient import FibClient
from fibclient.transport.resolver import resolve
from fibcommon.addresses import Address, ResolvedAddress
from fibweb import create_app
from fibweb.content.fetch_request import WouldBlock
from fibweb.resources.health import LivenessResource, ReadinessResource
from tests.support.servers import RunningServer


def would_block(_: object) -> None:
    """Raise `WouldBlock`, as on an event loop."""
    raise WouldBlock


MAY_NOT_BLOCK = {"fibweb.fetch": would_block}


def web(client: FibClient) -> testing.TestClient:
    """Return the application with both resources."""
    resources = {"/healthz": LivenessResource(), "/readyz": ReadinessResource(client)}
    return testing.TestClient(create_app(client, resources=resources))


def test_liveness_needs_no_fibserver() -> None:
    """Liveness does not depend on the fibservers and does not wait for them."""
    with FibClient("127.0.0.1:1") as client:
        result = web(client).simulate_get("/healthz", extras=MAY_NOT_BLOCK)
    assert (result.status_code, result.text) == (200, "alive\n")
    assert result.headers["cache-control"] == "no-store"


def test_process_is_ready_when_fibserver_replies(server: RunningServer) -> None:
    """A process is ready when a fibserver replies, for GET and HEAD."""
    with FibClient(server.address) as client:
        app = web(client)
        result = app.simulate_get("/readyz")
        head = app.simulate_head("/readyz")
    assert (result.status_code, result.text) == (200, "ready\n")
    assert result.headers["cache-control"] == "no-store"
    assert (head.status_code, head.text) == (200, "")


def test_readiness_in_spite_of_hanging_resolution(server: RunningServer) -> None:
    """A host name whose resolution hangs does not make the process unready."""
    stuck = threading.Event()

    def resolver(address: Address) -> list[ResolvedAddress]:
        if address.host == "slow.example":
            stuck.wait()
            return []
        return resolve(address)

    with FibClient(f"slow.example:1,{server.address}", resolve=resolver) as client:
        assert web(client).simulate_get("/readyz").status_code == 200
    stuck.set()


def test_readiness_without_fibserver_is_503() -> None:
    """Without a fibserver the response is 503 with the reason."""
    with FibClient("127.0.0.1:1", timeout_seconds=0.3) as client:
        result = web(client).simulate_get("/readyz")
    assert result.status_code == 503
    assert result.headers["retry-after"] == "1"
    problem = json.loads(result.content)
    assert problem["detail"].startswith("no fibserver answers: ")
    for check in ("systemctl status fibserver", "setting servers", "doctor"):
        assert check in problem["detail"]


def test_readiness_does_not_block_event_loop() -> None:
    """On an event loop the resource does not block and responds from memory."""
    with FibClient("127.0.0.1:1", timeout_seconds=0.3) as client:
        ready = ReadinessResource(client)
        app = testing.TestClient(create_app(client, resources={"/readyz": ready}))
        with pytest.raises(WouldBlock):
            app.simulate_get("/readyz", extras=MAY_NOT_BLOCK)
        ready.refresh()
        assert app.simulate_get("/readyz", extras=MAY_NOT_BLOCK).status_code == 503
