"""The page on a slow line: first paint, bytes and requests, at the first visit and the second.

Chromium slows its own network down (the DevTools protocol): 400 kbit/s, and 400 ms before each
response. Each round has a browser profile of its own, so its first visit finds an empty cache.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.fibweb_process import start_fibweb
from tests.support.network_log import NetworkLog
from tests.support.servers import start_server

__all__ = ["main"]

BROWSERS = ("chromium-headless-shell", "chromium")
DEADLINE_MS = 60_000

SHOWN = """
window.shown = new Promise((resolve) => {
  const look = () => {
    if (document.querySelector("#number-7 .value")?.textContent) {
      resolve(performance.now());
    } else {
      requestAnimationFrame(look);
    }
  };
  look();
});
"""
"""Script that keeps the time at which the page shows numbers."""

TIMES = """async () => {
  const shownMs = await window.shown;
  return [performance.getEntriesByName("first-contentful-paint")[0].startTime, shownMs];
}"""


class Visit(NamedTuple):
    """What one visit takes until the page shows numbers.

    Attributes:
        paint_ms: Time to the first contentful paint.
        shown_ms: Time to the numbers.
        files: Requests for the page and its files that reach the server.
        file_bytes: Bytes of their responses, headers included.
        requests: Requests for data, so far.
        request_bytes: Bytes of their responses.
    """

    paint_ms: float
    shown_ms: float
    files: int
    file_bytes: int
    requests: int
    request_bytes: int


@contextmanager
def running_fibweb() -> Iterator[str]:
    """Run a fibserver and a fibweb; yield the address of the latter."""
    with tempfile.TemporaryDirectory(prefix="bench-page-") as folder:
        server = start_server(Path(folder, "fibserver.log"))
        try:
            web = start_fibweb(Path(folder, "fibweb.log"), "--servers", server.address)
            try:
                yield web.address
            finally:
                web.stop()
        finally:
            server.stop()


def visit(page: Page, url: str, kbit_per_second: int, latency_ms: int) -> Visit:
    """Return what a visit takes on a slow line."""
    log = NetworkLog(page)
    bytes_per_second = kbit_per_second * 1000 / 8
    log.session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": latency_ms,
            "downloadThroughput": bytes_per_second,
            "uploadThroughput": bytes_per_second,
        },
    )
    page.add_init_script(SHOWN)
    page.goto(url, timeout=DEADLINE_MS)
    paint_ms, shown_ms = page.evaluate(TIMES)
    received = [transfer for transfer in log.transfers() if not transfer.is_cached]
    files = [transfer.size_bytes for transfer in received if transfer.is_file]
    data = [transfer.size_bytes for transfer in received if not transfer.is_file]
    return Visit(paint_ms, shown_ms, len(files), sum(files), len(data), sum(data))


def visits(browser: Browser, url: str, kbit_per_second: int, latency_ms: int) -> list[Visit]:
    """Return the first and the second visit of a new profile."""
    context = browser.new_context()
    try:
        found = []
        for _ in range(2):
            page = context.new_page()
            found.append(visit(page, url, kbit_per_second, latency_ms))
            page.close()
        return found
    finally:
        context.close()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--kbit-per-second", type=click.IntRange(1), default=400, show_default=True)
@click.option("--latency-ms", type=click.IntRange(0), default=400, show_default=True)
def main(rounds: int, kbit_per_second: int, latency_ms: int) -> None:
    """Measure the page in Chromium on a slow line; medians of all rounds."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise click.ClickException('no browser found: try "apt install chromium"')
    with running_fibweb() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            measured = [
                visits(browser, f"{address}/", kbit_per_second, latency_ms) for _ in range(rounds)
            ]
        finally:
            browser.close()
    layout = "{:<8} {:>12} {:>12} {:>9} {:>7} {:>14} {:>11}"
    click.echo(
        layout.format(
            *("visit", "first paint", "numbers", "requests", "bytes", "data requests"),
            "data bytes",
        )
    )
    for name, each in zip(("first", "second"), zip(*measured, strict=True), strict=True):
        paint, shown, *counts = (median(column) for column in zip(*each, strict=True))
        click.echo(layout.format(name, f"{paint:.0f} ms", f"{shown:.0f} ms", *map(round, counts)))


if __name__ == "__main__":
    main()
