"""Tests for `/favicon.ico` and `/robots.txt`."""

import struct
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from urllib.robotparser import RobotFileParser

import pytest
from falcon import testing

import fibweb
from fibclient import FibClient
from fibweb import create_app
from fibweb.resources.lazy_documents import page_resources

SITE = Path(fibweb.__file__).parent / "site"


@pytest.fixture
def web() -> Iterator[testing.TestClient]:
    """The application, without a fibserver."""
    with FibClient("127.0.0.1:1") as client:
        yield testing.TestClient(create_app(client, resources=page_resources()))


def test_favicon_is_an_icon(web: testing.TestClient) -> None:
    """`/favicon.ico` is a small icon file, whose pictures have the sizes that browsers show."""
    result = web.simulate_get("/favicon.ico")
    assert result.headers["content-type"] == "image/vnd.microsoft.icon"
    data = result.content
    assert len(data) < 4096
    reserved, kind, count = struct.unpack_from("<HHH", data)
    assert (reserved, kind) == (0, 1)
    sizes = []
    for number in range(count):
        width, height, *_, size, offset = struct.unpack_from("<BBBBHHII", data, 6 + 16 * number)
        assert width == height
        assert data[offset : offset + 8] == b"\x89PNG\r\n\x1a\n"
        assert offset + size <= len(data)
        sizes.append(width)
    assert sizes == [16, 32]


@pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt"])
def test_files_are_cached_for_a_day(web: testing.TestClient, path: str) -> None:
    """Browsers may keep the files for a day, and then revalidate them."""
    result = web.simulate_get(path)
    assert result.headers["cache-control"] == "public, max-age=86400"
    assert result.headers["x-content-type-options"] == "nosniff"
    known = web.simulate_get(path, headers={"If-None-Match": result.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_robots_leave_numbers_alone(web: testing.TestClient) -> None:
    """Crawlers may read the page and the reference, and compute no numbers."""
    robots = RobotFileParser()
    rules = web.simulate_get("/robots.txt").text.splitlines()
    robots.parse(rules)
    for path in ("/", "/docs", "/page/style.css", "/favicon.ico", "/problems/too-large"):
        assert robots.can_fetch("AnyBot", path), path
    for path in (
        "/fib/1",
        "/fib?count=1",
        "/number/7",
        "/digits/7",
        "/index/7",
        "/index?digits=3",
        "/limits",
        "/status",
        "/metrics",
        "/healthz",
        "/readyz",
    ):
        assert not robots.can_fetch("AnyBot", path), path
    # Lists on the page; this parser does not support wildcards (RFC 9309).
    assert "Disallow: /*?" in rules


def test_the_files_are_installed() -> None:
    """setup.cfg lists all files as package data."""
    setup = (SITE.parents[1] / "setup.cfg").read_text()
    assert "\n    site/*\n" in setup
    assert all(fnmatch(f"site/{file.name}", "site/*") for file in SITE.iterdir())
