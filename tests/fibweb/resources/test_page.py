"""Tests for the files of the page."""

import re
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon import testing

import fibweb
from fibclient import FibClient
from fibweb.app import create_app
from fibweb.resources.page import page_resources

FOLDER = Path(fibweb.__file__).parent / "page"
PATHS = sorted(page_resources())
ROOT = Path(__file__).parents[3]


@pytest.fixture
def web() -> testing.TestClient:
    """The application, without a fibserver."""
    client = FibClient("127.0.0.1:1")
    return testing.TestClient(create_app(client, resources=page_resources()))


@pytest.mark.parametrize("path", PATHS)
def test_page_file_has_media_type_and_policy(web: testing.TestClient, path: str) -> None:
    """Each file is served with its media type and a strict content security policy."""
    result = web.simulate_get(path)
    assert result.status_code == 200
    assert (
        result.content
        == (FOLDER / (path.removeprefix("/page/").strip("/") or "index.html")).read_bytes()
    )
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "/": "text/html"}
    assert result.headers["content-type"].startswith(types[path.rpartition(".")[2]])
    assert result.headers["cache-control"] == "no-cache"
    assert result.headers["x-content-type-options"] == "nosniff"
    policy = result.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", PATHS)
def test_page_file_is_revalidated(web: testing.TestClient, path: str) -> None:
    """A browser that has a file receives 304; HEAD has the headers of GET."""
    tag = web.simulate_get(path).headers["etag"]
    known = web.simulate_get(path, headers={"If-None-Match": tag})
    other = web.simulate_get(path, headers={"If-None-Match": '"other"'})
    head = web.simulate_head(path)
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["etag"] == tag
    assert other.status_code == 200
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == web.simulate_get(path).headers


def test_nothing_changes_the_page(web: testing.TestClient) -> None:
    """Only GET, HEAD and OPTIONS are allowed."""
    assert web.simulate_post("/").status_code == falcon.http_status_to_code(falcon.HTTP_405)
    assert web.simulate_get("/page/nothing.js").status_code == 404


def test_the_page_refers_to_its_files() -> None:
    """All files that the page and its scripts load exist; all scripts are preloaded and used."""
    page = (FOLDER / "index.html").read_text()
    referred = set(re.findall(r'(?:href|src)="(page/[^"]*)"', page))
    assert {f"/{path}" for path in referred} | {"/"} == set(PATHS)
    for script in FOLDER.glob("*.js"):
        imported = re.findall(r'from "\./([^"]*)"', script.read_text())
        assert {f"page/{name}" for name in imported} <= referred, script


def test_the_page_knows_no_prefix() -> None:
    """No URL in the page, its scripts or its styles begins at the root of the site."""
    absolute = re.compile(r"""(?:href|src|action)="/|url\(["']?/|["'`]/[a-z]""")
    for file in FOLDER.iterdir():
        found = absolute.search(file.read_text())
        assert not found, f"{file}: {found}"


@pytest.mark.parametrize(
    ("mount", "target", "location"),
    [
        ("/f", "/f", "/f/"),
        ("/f", "/f?first=3&x", "/f/?first=3&x"),
        ("/a b/\xc3\xa9", "", "/a%20b/%C3%A9/"),
        ("//evil.example", "", "/evil.example/"),
    ],
)
def test_page_below_path_prefix(
    web: testing.TestClient, mount: str, target: str, location: str
) -> None:
    """The page is at the prefix with a trailing slash; without the slash it redirects."""
    environ: dict[str, Any] = testing.create_environ(query_string=target.partition("?")[2])
    environ |= {"SCRIPT_NAME": mount, "PATH_INFO": ""}
    started = testing.StartResponseMock()
    web.app(environ, started)
    assert started.status == "301 Moved Permanently"
    assert started.headers_dict["location"] == location
    web.app(environ | {"PATH_INFO": "/"}, started)
    assert started.status == "200 OK"


def test_page_has_no_inline_code() -> None:
    """The page has no inline scripts or styles, which the policy forbids, nor foreign URLs."""
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)
    for file in FOLDER.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        text = text.replace('<a href="https://oeis.org/', "")  # a link loads nothing
        assert "://" not in text, file


def test_the_files_are_installed() -> None:
    """setup.cfg lists all files of the page as package data."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["fibweb"].replace(",", "\n").split()
    for file in FOLDER.iterdir():
        assert any(fnmatch(f"page/{file.name}", pattern) for pattern in patterns), file
