"""The page below a path prefix, with nginx configured by deploy/nginx/prefix.conf."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, expect

from tests.fibweb.page.site import ServedPage
from tests.support.balancers import DEPLOY, run_nginx
from tests.support.prometheus import free_port
from tests.support.servers import DEADLINE_SECONDS

PREFIXES = {"taken off by nginx": ("/", ""), "passed on": ("", "/f")}
"""Ways to handle the prefix: the end of proxy_pass, and fibweb's root_path."""


@pytest.fixture(scope="module", params=PREFIXES)
def below(
    request: pytest.FixtureRequest,
    site: ServedPage,
    program: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServedPage]:
    """Return the site below /f/ of a proxy that has nothing at its root."""
    ending, root_path = PREFIXES[request.param]
    folder, address = tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{free_port()}"
    nginx = program("nginx")
    inner = ServedPage(folder, site.servers, "--root-path", root_path) if root_path else site
    text = (DEPLOY / "nginx" / "prefix.conf").read_text()
    own = f"proxy_pass {inner.url}{ending};"
    assert "proxy_pass http://127.0.0.1:8080/;" in text
    text = text.replace("proxy_pass http://127.0.0.1:8080/;", own)
    server = f"server {{ listen {address}; location / {{ return 410; }}\n{text}}}"
    with ExitStack() as stack:
        if inner is not site:
            stack.callback(inner.stop)
        stack.enter_context(run_nginx(nginx, folder, server, address))
        yield inner.seen_at(f"http://{address}/f")


def test_page_works_below_prefix(below: ServedPage, open_page: Callable[..., Page]) -> None:
    """Below a prefix numbers, live state, recipes, download and addresses work."""
    page = open_page(below, "?first=30")
    expect(page.locator("#number-7 .value")).to_have_text("13")
    expect(page.locator("#health")).to_have_attribute("data-state", "up")
    expect(page.locator("#recipes")).to_contain_text(f"curl '{below.url}/fib/30'")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert json.loads(download.value.path().read_bytes())["N"] == 30
    page.get_by_role("link", name="the first 10", exact=True).click()
    expect(page).to_have_url(f"{below.url}/?first=10")
    page.locator("a.brand").click()
    expect(page).to_have_url(f"{below.url}/")
    expect(page.locator("#number-7 .value")).to_have_text("13")


def test_prefix_without_slash_redirects(below: ServedPage) -> None:
    """The prefix without a slash redirects to the page and keeps the query."""
    with urllib.request.urlopen(f"{below.url}?first=3", timeout=DEADLINE_SECONDS) as reply:
        assert reply.url == f"{below.url}/?first=3"
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"


def test_footer_links(below: ServedPage, open_page: Callable[..., Page]) -> None:
    """The links in the footer of the page work."""
    page = open_page(below)
    for link in page.locator("footer a").all():
        url = str(link.evaluate("link => link.href"))
        assert url.startswith(f"{below.url}/")
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
            assert reply.status == 200


def test_reference_and_errors_below_prefix(
    below: ServedPage, open_page: Callable[..., Page]
) -> None:
    """The forms of the reference and the links of error pages stay below the prefix."""
    page = open_page(below, "docs")
    page.locator("#first").get_by_role("button", name="Send").click()
    expect(page.locator("#first .outcome")).to_contain_text("200 OK")
    page.goto(f"{below.url}/Fib/10/")
    page.get_by_role("link", name="Reference").click()
    expect(page).to_have_url(f"{below.url}/docs")
    page.go_back()
    page.get_by_role("link", name="Try /fib/10").click()
    expect(page).to_have_url(f"{below.url}/fib/10")
    expect(page.locator("body")).to_contain_text('"N": 10')
