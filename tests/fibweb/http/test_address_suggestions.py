"""Tests for suggested addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibweb.http.address_suggestions import MAX_CHARACTERS, suggest_address

NAMES = {
    *("fib", "number", "digits", "index", "limits", "docs", "openapi.json", "status"),
    *("healthz", "readyz", "metrics", "robots.txt"),
}

SLIPS = {
    # slashes
    "/fib/10/": "/fib/10",
    "//fib/1": "/fib/1",
    "/docs/": "/docs",
    "/openapi.json/": "/openapi.json",
    # case, spelling, other names
    "/Fib/10": "/fib/10",
    "/fibs/10": "/fib/10",
    "/fibonacci/10": "/fib/10",
    "/numbers/7": "/number/7",
    "/limit": "/limits",
    "/openapi": "/openapi.json",
    "/swagger": "/docs",
    "/health": "/healthz",
    "/robot.txt": "/robots.txt",
    # prefixes
    "/api/v1/fib/10": "/fib/10",
    "/10": "/fib/10",
    # spellings of numbers
    "/fib/1%30": "/fib/10",
    "/fib/%31%30?format=csv": "/fib/10?format=csv",
    "/fib/007": "/fib/7",
    "/fib/000": "/fib/0",
    "/fib/+5": "/fib/5",
    "/fib/10.0": "/fib/10",
    "/fib/1,000": "/fib/1000",
    "/fib/1_000": "/fib/1000",
    "/number/1e3": "/number/1000",
    "/number/10^6": "/number/1000000",
    "/number/3*10**2": "/number/300",
    "/fib/10.json": "/fib/10?format=json",
    "/fib/10.txt": "/fib/10?format=text",
    # no number
    "/number": "/number/100",
    "/fib": "/fib/10",
    "/index": "/index/832040",
    "/fib/ten": "/fib/10",
    "/fib/-1": "/fib/10",
    "/fib/10/../x": "/fib/10",
    "/fib/1e99": "/fib/10",
    # parameters
    "/fib?N=10": "/fib/10",
    "/fib?n=10&format=CSV": "/fib/10?format=csv",
    "/number?n=10": "/number/10",
    "/index?n=5": "/index/5",
    "/fib?start=5": "/fib?start=5&count=10",
    "/fib?from=5&limit=3": "/fib?start=5&count=3",
    "/fib?cuont=5": "/fib?count=5",
    "/fib?count=1&count=2": "/fib?count=1",
    "/fib?count=1,000": "/fib?count=1000",
    "/fib/10?formt=csv": "/fib/10?format=csv",
    "/fib/10?format=xml": "/fib/10",
    "/fib/10?format=cvs&download=x": "/fib/10?format=csv&download",
    "/number/10/?mod=7": "/number/10?mod=7",
    "/digits/5?frist=5": "/digits/5?first=5",
    "/index?digit=9": "/index?digits=9",
    # nothing of the request but digits
    "/evil.example//fib/1": "/fib/1",
    "/fib/<script>": "/fib/10",
    "/fib/3?format=%22onload": "/fib/3",
}


def suggestion(target: str) -> str | None:
    """Return the suggestion for a request target."""
    path, _, query = target.partition("?")
    return suggest_address(path, query, NAMES)


@pytest.mark.parametrize(("target", "address"), SLIPS.items())
def test_slips(target: str, address: str) -> None:
    """A slip is corrected, and the corrected address needs no correction."""
    assert suggestion(target) == address
    assert suggestion(address) is None


@pytest.mark.parametrize(
    "target", ["/nothing", "/wp-admin/x.php", "/é", "/", "", "*", "/" + "f" * MAX_CHARACTERS]
)
def test_nothing_is_similar(target: str) -> None:
    """An address that resembles none gets no suggestion."""
    assert suggestion(target) is None


@pytest.mark.parametrize("mark", ["0", "9", ".", ",", "e", "/", "%30"])
def test_long_requests(mark: str) -> None:
    """Long requests of any characters take no long time."""
    long = mark * (MAX_CHARACTERS // 4 // len(mark))
    for target in (f"/fib/{long}x", f"/{long}/{long}", f"/index/{long}/", f"/fib?{long}={long}"):
        address = suggestion(target)
        assert address is None or address.startswith("/")


def test_only_routes_in_use() -> None:
    """Only routes in use are suggested."""
    assert suggest_address("/fib/10/", "", {"metrics"}) is None
    assert suggest_address("/metric", "", {"metrics"}) == "/metrics"


@given(
    st.sampled_from(["/", "/fib/", "/number/", "/index", "//", "/digits/9"]),
    st.text(),
    st.sampled_from(["", "n=", "format=", "count="]),
    st.text(),
)
def test_suggestions_carry_nothing_else(path: str, rest: str, name: str, value: str) -> None:
    """Whatever is requested, a suggestion is a path on this site, of plain characters."""
    address = suggest_address(path + rest, name + value, NAMES)
    if address is not None:
        assert address.startswith("/")
        assert not address.startswith("//")
        assert set(address) <= set("abcdefghijklmnopqrstuvwxyz0123456789./?&=")
