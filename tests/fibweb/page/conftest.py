"""A real browser, and a running fibweb for it to look at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.fibweb.page.site import Site
from tests.support.servers import DEADLINE_SECONDS, RunningServer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=DEADLINE_SECONDS * 1000)


# Not for longer than this folder: while Playwright runs, so does its event loop, and tests with
# asyncio need the thread for their own.
@pytest.fixture(scope="package")
def browser(program: Callable[[str], str]) -> Iterator[Browser]:
    """Debian's chromium, with an empty profile."""
    path = program("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def site(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fibweb for tests that only look."""
    running = Site(tmp_path_factory.mktemp("site"), server.address)
    yield running
    running.stop()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page; whatever it does, no script fails and nothing comes from elsewhere."""
    contexts = []
    trouble: list[str] = []

    def start(
        site: Site,
        search: str = "",
        size: tuple[int, int] = (1280, 900),
        color_scheme: str = "light",
        script: str = "",
        has_clock: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if color_scheme == "dark" else "light",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(DEADLINE_SECONDS * 1000)
        page = context.new_page()
        page.add_init_script(script)
        if has_clock:
            page.clock.install()

        def check_request(request: Request) -> None:
            if not request.url.startswith(site.url):
                trouble.append(f"asked for {request.url}")

        page.on("request", check_request)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: trouble.append(said.text) if is_bad(said.text) else None)
        page.goto(site.url + "/" + search)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not trouble


def is_bad(text: str) -> bool:
    """Tell whether what the browser's console says is a fault of the page."""
    # An answer that is an error, or none at all, is what some tests are about.
    return not text.startswith("Failed to load resource")


@pytest.fixture
def home(open_page: Callable[..., Page], site: Site) -> Page:
    """The page as it opens."""
    return open_page(site)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to run commands in."""
    path = tmp_path / "folder"
    path.mkdir()
    return path
