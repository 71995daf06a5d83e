"""Budget of the page: how much a browser loads, at the first visit and the next."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fibweb.page.site import ServedPage
from tests.support.network_log import NetworkLog, Transfer
from tests.support.waiting import wait_until

MAX_BYTES = 30_000
MAX_REQUESTS = 4
"""Of the page and its files, at the first visit; the headers of the responses included."""


@pytest.fixture
def window(browser: Browser) -> Iterator[Page]:
    """An empty window with a cache, which those with routes do not have."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def files(page: Page, log: NetworkLog, site: ServedPage) -> list[Transfer]:
    """Return the files that a visit loads."""
    log.clear()
    page.goto(f"{site.url}/")
    expect(page.locator("#number-7 .value")).to_have_text("13")
    page.wait_for_load_state("load")

    def found() -> list[Transfer]:
        page.evaluate("0")  # events of the network arrive in the meantime
        return [transfer for transfer in log.transfers() if transfer.is_file]

    wait_until(lambda: any(transfer.path.endswith(".svg") for transfer in found()), "the icon")
    return found()


def test_first_visit_is_small(window: Page, site: ServedPage) -> None:
    """The page and its files come in few requests and bytes, all of them compressed."""
    loaded = files(window, NetworkLog(window), site)
    assert {transfer.status for transfer in loaded} == {200}
    assert len(loaded) <= MAX_REQUESTS, loaded
    assert sum(transfer.size_bytes for transfer in loaded) <= MAX_BYTES, loaded


def test_next_visit_revalidates_only_the_page(window: Page, site: ServedPage) -> None:
    """At the next visit the browser asks for the page alone, and has it already."""
    log = NetworkLog(window)
    files(window, log, site)
    window.goto("about:blank")
    again = files(window, log, site)
    requested = [transfer for transfer in again if not transfer.is_cached]
    assert [transfer.path for transfer in requested] == ["/"]
    assert requested[0].size_bytes < 1000
