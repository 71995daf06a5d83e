"""Tests for the files of the page."""

import base64
import hashlib
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
from fibweb.assets.es_modules import bundle
from fibweb.assets.page_builder import PageBuilder
from fibweb.resources.lazy_documents import page_resources

FOLDER = Path(fibweb.__file__).parent / "page"
ROOT = Path(__file__).parents[3]


def built_assets() -> dict[str, str]:
    """Return the paths of the assets by their names without a hash."""
    return {name: f"/page/{asset.hashed_name}" for name, asset in built_page().assets.items()}


def built_page() -> PageBuilder:
    """Return a builder that has built the page."""
    builder = PageBuilder({file.name: file.read_text() for file in FOLDER.iterdir()})
    builder.build((FOLDER / "index.html").read_text())
    return builder


ASSETS = built_assets()
PATHS = ["/", *ASSETS.values()]
IMMUTABLE = "public, max-age=31536000, immutable"


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
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "/": "text/html"}
    assert result.headers["content-type"].startswith(types[path.rpartition(".")[2]])
    assert result.headers["cache-control"] == ("no-cache" if path == "/" else IMMUTABLE)
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


def test_the_page_uses_its_files(web: testing.TestClient) -> None:
    """The page refers to all assets, and every file in its folder is part of one."""
    referred = set(re.findall(r'(?:href|src)="(page/[^"]*)"', web.simulate_get("/").text))
    assert {f"/{path}" for path in referred} == set(ASSETS.values())
    page = (FOLDER / "index.html").read_text()
    named = set(re.findall(r'(?:href|src)="page/([^"]*)"', page))
    for script in FOLDER.glob("*.js"):
        named |= set(re.findall(r'from "\./([^"]*)"', script.read_text()))
    assert named | {"index.html"} == {file.name for file in FOLDER.iterdir()}


TOKEN = re.compile(
    # A slash after an operator begins a regular expression.
    r"""(?<=[(,=:\[!&|?{};])\s*/(?![*/])(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*"""
    r"""|(?P<space>\s+|//[^\n]*|/\*.*?\*/)"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`"""
    r"""|#?[\w$]+|.""",
    re.DOTALL,
)


def tokens(script: str) -> list[str]:
    """Return the tokens of a script, without comments and space between them."""
    return [match[0].strip() for match in TOKEN.finditer(script) if match.lastgroup != "space"]


def test_minified_script_has_the_same_tokens() -> None:
    """Only comments and white space are removed from the scripts; texts are untouched."""
    sources = {path.name: path.read_text() for path in FOLDER.glob("*.js")}
    minified = built_page().assets["main.js"].data.decode()
    assert len(minified) < 0.75 * sum(map(len, sources.values()))
    assert tokens(minified) == tokens(bundle("main.js", sources))


def test_policy_allows_the_inserted_script(web: testing.TestClient) -> None:
    """Scripts in the page are those whose hashes are in its policy."""
    result = web.simulate_get("/")
    inserted = re.findall(r"<script>(.*?)</script>", result.text, re.DOTALL)
    assert len(inserted) == 1
    digest = base64.b64encode(hashlib.sha256(inserted[0].encode()).digest()).decode()
    policy = result.headers["content-security-policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy


@pytest.mark.parametrize("name", ["main.js", "main-0123456789abcdef.js"])
def test_asset_of_another_version(web: testing.TestClient, name: str) -> None:
    """A page of another version gets the current script, which no cache may keep."""
    result = web.simulate_get(f"/page/{name}")
    assert result.content == web.simulate_get(ASSETS["main.js"]).content
    assert result.headers["cache-control"] == "no-cache"
    assert web.simulate_get("/page/gone-0123456789abcdef.js").status_code == 404


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
