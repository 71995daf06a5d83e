"""REST, in process: what each request is answered, with a real fibserver behind."""

import json
from collections.abc import Iterator

import pytest
from falcon import testing

from fibclient import FibClient
from fibweb import create_app
from tests.numbers import digits
from tests.servers import RunningServer


@pytest.fixture
def web(server: RunningServer) -> Iterator[testing.TestClient]:
    """The application, in front of a fibserver."""
    with FibClient(server.address) as client:
        yield testing.TestClient(create_app(client))


@pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
def test_first(web: testing.TestClient, n: int) -> None:
    """`GET /fib/{n}` answers n and the first n numbers, as strings."""
    result = web.simulate_get(f"/fib/{n}")
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert int(result.headers["content-length"]) == len(result.content)
    assert result.json == {"N": n, "result": digits(0, n)}


def test_body(web: testing.TestClient) -> None:
    """The body is spelled as the design spells it."""
    assert web.simulate_get("/fib/3").content == b'{"N": 3, "result": ["0","1","1"]}'


@pytest.mark.parametrize(
    "n", ["-1", "+1", "01", "1.0", "0x10", "ten", "", "10/", "1/2", "1_0", "٣", " 1"]
)
def test_bad_n(web: testing.TestClient, n: str) -> None:
    """An n that is no plain decimal number is 400, as problem details."""
    result = web.simulate_get(f"/fib/{n}")
    assert result.status_code == 400
    assert result.headers["content-type"] == "application/problem+json"
    problem = json.loads(result.content)
    assert problem["status"] == 400
    assert problem["title"]
    assert "non-negative decimal integer" in problem["detail"]


@pytest.mark.parametrize(
    ("n", "reason"),
    [
        ("99999999", "max_index is 10000000"),
        ("9" * 19, "max_index is 10000000"),
        ("9" * 20, "n has 20 digits"),
        ("9" * 10_000, "n has 10000 digits"),
    ],
)
def test_too_large(web: testing.TestClient, n: str, reason: str) -> None:
    """An n beyond a limit is 400 with the limit, however long it is."""
    result = web.simulate_get(f"/fib/{n}")
    assert result.status_code == 400
    assert reason in json.loads(result.content)["detail"]


def test_other_routes_and_methods(web: testing.TestClient) -> None:
    """An unknown route is 404, another method 405 with Allow; both are problem details."""
    missing = web.simulate_get("/nothing")
    wrong = web.simulate_post("/fib/10")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert "GET" in wrong.headers["allow"]
    for result in (missing, wrong):
        assert result.headers["content-type"] == "application/problem+json"


def test_server_out_of_reach() -> None:
    """Without a fibserver the answer is 503 with Retry-After."""
    with FibClient("127.0.0.1:1") as client:
        result = testing.TestClient(create_app(client)).simulate_get("/fib/10")
    assert result.status_code == 503
    assert result.headers["retry-after"] == "1"
    assert json.loads(result.content)["status"] == 503
