"""Tests for cross-origin resource sharing."""

import pytest
from falcon import testing

from fibclient import FibClient
from fibweb import create_app

HERE = "https://example.org"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}


def ask(origins: tuple[str, ...], method: str, target: str, **headers: str) -> testing.Result:
    """Return a response that needs no fibserver."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with FibClient("127.0.0.1:1") as client:
        web = testing.TestClient(create_app(client, allowed_origins=origins))
        return web.simulate_request(method, target, headers=named)


def cors_headers(result: testing.Result) -> dict[str, str]:
    """Return the CORS headers of a response."""
    return {name: text for name, text in result.headers.items() if name.startswith("access-")}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_cors_is_off_by_default(method: str) -> None:
    """By default there are no CORS headers, so browsers deny access."""
    result = ask((), method, "/fib/0", Origin=HERE, **PREFLIGHT)
    assert not cors_headers(result)
    assert "Origin" not in result.headers.get("vary", "")


@pytest.mark.parametrize("origin", [HERE, "null", ""])
@pytest.mark.parametrize(("target", "status"), [("/fib/0", 200), ("/fib/x", 400), ("/x", 404)])
def test_all(origin: str, target: str, status: int) -> None:
    """With `*`, all origins may read responses, errors and the exposed headers."""
    result = ask(("*",), "GET", target, Origin=origin)
    assert result.status_code == status
    found = cors_headers(result)
    assert found.pop("access-control-allow-origin") == "*"
    exposed = found.pop("access-control-expose-headers")
    assert {"ETag", "Content-Range", "X-Request-ID"} <= set(exposed.split(", "))
    assert not found
    assert "Origin" not in result.headers.get("vary", "")


def test_some() -> None:
    """Only listed origins may read responses, which vary by Origin."""
    origins = (HERE, "http://localhost:3000")
    for origin in origins:
        result = ask(origins, "GET", "/fib/0", Origin=origin)
        assert result.headers["access-control-allow-origin"] == origin
        assert result.headers["vary"] == "Accept, Origin"
    for other in ("https://example.com", "http://example.org", f"{HERE}.evil.com", "", "null"):
        result = ask(origins, "GET", "/fib/0", Origin=other)
        assert result.status_code == 200
        assert not cors_headers(result)
        assert result.headers["vary"] == "Accept, Origin"


@pytest.mark.parametrize("origins", [("*",), (HERE,)])
def test_preflight(origins: tuple[str, ...]) -> None:
    """A preflight response lists the methods and headers, and may be cached."""
    result = ask(origins, "OPTIONS", "/fib/0", Origin=HERE, **PREFLIGHT)
    assert (result.status_code, result.content) == (204, b"")
    found = cors_headers(result)
    assert found["access-control-allow-origin"] in ("*", HERE)
    assert found["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "Range" in found["access-control-allow-headers"].split(", ")
    assert found["access-control-max-age"] == "86400"


def test_credentials_are_never_allowed() -> None:
    """Credentials are not allowed."""
    for origins in (("*",), (HERE,)):
        for method in ("GET", "OPTIONS"):
            found = cors_headers(ask(origins, method, "/fib/0", Origin=HERE, **PREFLIGHT))
            assert "access-control-allow-credentials" not in found
