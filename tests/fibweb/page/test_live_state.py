"""Live state of the service, and recovery of the page after an outage."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fibweb.page.site import ServedPage
from tests.support.servers import RunningServer

TWO_POINTS = re.compile(r"\S+,\S+ \S+,\S+")


@pytest.fixture
def number_server(serve: Callable[..., RunningServer]) -> RunningServer:
    """Return a fibserver that the test may stop."""
    return serve()


@pytest.fixture
def own_site(number_server: RunningServer, tmp_path: Path) -> Iterator[ServedPage]:
    """Return a fibweb that the test may stop, with its own fibserver."""
    running = ServedPage(tmp_path, number_server.address)
    yield running
    running.stop()


def test_the_state_is_shown(home: Page) -> None:
    """Servers, workers, memory, load and latency are there, in words."""
    expect(home.get_by_role("banner").get_by_role("status")).to_have_text("1 of 1 server up")
    card = home.get_by_role("article").filter(has_text="fibserver 1")
    for words in ("up", "Workers busy", "Numbers in memory", "Clients", "Answered"):
        expect(card).to_contain_text(words)
    for name in ("Requests/s", "In flight", "Latency, p99", "Memory", "From the cache"):
        gauge = home.locator(".gauge", has_text=name)
        expect(gauge.locator("strong")).not_to_have_text("–")
        expect(gauge.locator("polyline")).to_have_attribute("points", TWO_POINTS)


def test_opening_reads_the_state_once(open_page: Callable[..., Page], site: ServedPage) -> None:
    """All parts of the page share one reading of the state."""
    home = open_page(site, has_clock=True)
    # However slow the browser is, no further reading becomes due.
    home.clock.pause_at(home.evaluate("Date.now()") / 1000 + 1)
    readings: list[str] = []
    home.on("request", lambda request: readings.append(request.url))
    home.reload()
    expect(home.locator("#health")).to_have_attribute("data-state", "up")
    assert len([url for url in readings if url.endswith("/status")]) == 1


def test_pause_stops_readings(open_page: Callable[..., Page], site: ServedPage) -> None:
    """While paused, the page fetches no state; it continues when the button is pressed again."""
    home = open_page(site, has_clock=True)
    expect(home.locator("#health")).to_have_attribute("data-state", "up")
    pause = home.get_by_role("button", name="Pause")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(home.locator("#state-note")).to_contain_text("paused")
    readings: list[str] = []
    home.on("request", lambda request: readings.append(request.url))
    home.clock.run_for(60_000)
    assert not [url for url in readings if url.endswith("/status")]
    pause.click()
    with home.expect_request("**/status"):
        home.clock.run_for(4_000)


def test_page_recovers_with_web_service(
    open_page: Callable[..., Page], own_site: ServedPage
) -> None:
    """An outage is announced; then the page fetches what is missing by itself."""
    page = open_page(own_site, "?first=100000")
    expect(page.locator("#numbers .pending")).to_have_count(0)
    own_site.stop()
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    expect(page.locator("#health")).to_contain_text("does not answer")
    expect(page.locator("#state-note")).to_have_text(
        re.compile(r"Values of \d\d:\d\d:\d\d: the service does not answer\.")
    )
    expect(page.locator(".badge")).to_have_text("was up")
    page.locator("#numbers").press("End")
    expect(page.locator("#numbers .pending").first).to_be_visible()
    expect(page.locator("#number-99999 .note")).to_have_text("20,899 digits")
    own_site.start()
    expect(page.get_by_text("The service is back.")).to_be_visible()
    expect(page.locator("#numbers .pending")).to_have_count(0)
    expect(page.locator("#number-99999 .value")).to_contain_text("…")
    expect(page.locator("#health")).to_have_attribute("data-state", "up")
    expect(page.locator("#outage")).to_be_hidden()
    expect(page.locator("#state-note")).to_have_text("")
    expect(page.locator(".badge")).to_have_text("up")


def test_request_during_outage_is_repeated(
    open_page: Callable[..., Page], own_site: ServedPage
) -> None:
    """A query that failed during an outage is repeated when the service is back."""
    page = open_page(own_site, "?first=10")
    expect(page.get_by_role("option")).to_have_count(10)
    own_site.stop()
    page.locator("#first").fill("20")
    page.locator("#first").press("Enter")
    expect(page.locator("#outage")).to_be_visible()
    own_site.start()
    expect(page.locator("#result-title")).to_have_text("The first 20 numbers")
    expect(page.locator("#number-19 .value, #number-12 .value").first).not_to_be_empty()


def test_page_recovers_with_fibserver(
    open_page: Callable[..., Page],
    number_server: RunningServer,
    own_site: ServedPage,
    serve: Callable[..., RunningServer],
) -> None:
    """The page reports that no fibserver is up, and recovers when one is.

    Meanwhile it shows long lists, since fibweb computes both ends of their numbers.
    """
    page = open_page(own_site, "?first=10")
    expect(page.get_by_role("option")).to_have_count(10)
    number_server.stop()
    expect(page.locator("#health")).to_contain_text("No server can be reached")
    expect(page.get_by_role("article")).to_contain_text("down")
    page.locator("#first").fill("50000")
    page.locator("#first").press("Enter")
    expect(page.locator("#result-title")).to_have_text("The first 50,000 numbers")
    page.locator("#numbers").press("End")
    expect(page.locator("#number-49999 .value")).to_contain_text("…")
    page.locator("#first").fill("1000")
    page.locator("#first").press("Enter")
    outage = page.get_by_role("alert").filter(has_text="continues by itself")
    expect(outage).to_be_visible()
    expect(outage).not_to_contain_text(number_server.address)
    serve("--listen", number_server.address)
    expect(page.locator("#result-title")).to_have_text("The first 1,000 numbers")
    expect(page.locator("#health")).to_have_attribute("data-state", "up")
    expect(page.locator("#numbers .pending")).to_have_count(0)
