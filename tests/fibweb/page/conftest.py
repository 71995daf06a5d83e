"""Fixtures: a real browser, and a running fibweb."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

import fibweb
from tests.fibweb.page.site import ServedPage
from tests.support.servers import DEADLINE_SECONDS, RunningServer

DESKTOP = (1280, 900)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PAGE = Path(fibweb.__file__).parent / "page"
MODULE = re.compile(r"/page/[a-z_]+\.js$")

expect.set_options(timeout=DEADLINE_SECONDS * 1000)

BROWSERS = ("chromium-headless-shell", "chromium")
"""Debian's Chromium, preferably the headless shell, which starts faster."""


class Pages:
    """Pages of a test, checked for script errors and requests to other sites."""

    def __init__(self, browser: Browser) -> None:
        """Create the collection without a page.

        Args:
            browser: where to open them.
        """
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._trouble: list[str] = []

    def open(
        self,
        site: ServedPage,
        search: str = "",
        size: tuple[int, int] = DESKTOP,
        color_scheme: str = "light",
        script: str = "",
        has_clock: bool = False,
    ) -> Page:
        """Open a page in a new window with an empty profile.

        Args:
            site: to open.
            search: what follows its URL.
            size: of the window, in pixels.
            color_scheme: that the system prefers, light or dark.
            script: to run before those of the page.
            has_clock: whether the test can put its clock forward.
        """
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if color_scheme == "dark" else "light",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        self._contexts.append(context)
        # Tests of single modules import them from the source, because the page has them in one.
        context.route(
            MODULE, lambda route: route.fulfill(path=PAGE / Path(route.request.url).name)
        )
        context.set_default_timeout(DEADLINE_SECONDS * 1000)
        page = context.new_page()
        page.add_init_script(script)
        if has_clock:
            page.clock.install()
        trouble = self._trouble

        def check_request(request: Request) -> None:
            if not request.url.startswith(site.url):
                trouble.append(f"asked for {request.url}")

        page.on("request", check_request)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: trouble.append(said.text) if is_bad(said.text) else None)
        page.goto(f"{site.url}/{search}")
        return page

    def check(self) -> None:
        """Fail if any page had an error."""
        assert not self._trouble

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()


def is_bad(text: str) -> bool:
    """Return whether a message on the browser's console is a fault of the page."""
    # Some tests cause error responses and failed requests.
    return not text.startswith("Failed to load resource")


# Not for longer than this folder: while Playwright runs, so does its event loop, and tests with
# asyncio need the thread for their own.
@pytest.fixture(scope="package")
def browser(program: Callable[[str], str]) -> Iterator[Browser]:
    """Return a browser with an empty profile."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None) or program(BROWSERS[0])
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def site(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    """Return a fibweb that tests share and do not stop."""
    running = ServedPage(tmp_path_factory.mktemp("site"), server.address)
    yield running
    running.stop()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page in a new window."""
    pages = Pages(browser)
    yield pages.open
    pages.close()
    pages.check()


@pytest.fixture(scope="package")
def shared_window(browser: Browser) -> Iterator[Pages]:
    """Return a window that tests share, because opening one is slow."""
    pages = Pages(browser)
    yield pages
    pages.close()


@pytest.fixture(scope="package")
def shared_page(shared_window: Pages, site: ServedPage) -> Page:
    """Return the page in the shared window."""
    return shared_window.open(site)


@pytest.fixture
def visit(
    shared_window: Pages, shared_page: Page, site: ServedPage
) -> Iterator[Callable[..., Page]]:
    """Return a function that loads the page in the shared window, with empty storage."""

    def start(search: str = "", size: tuple[int, int] = DESKTOP) -> Page:
        shared_page.set_viewport_size({"width": size[0], "height": size[1]})
        shared_page.goto(f"{site.url}/{search}")
        return shared_page

    yield start
    shared_page.evaluate("localStorage.clear()")
    shared_page.goto("about:blank")
    shared_window.check()


@pytest.fixture
def home(visit: Callable[..., Page]) -> Page:
    """Return the page at its default address."""
    return visit()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder to run commands in."""
    path = tmp_path / "folder"
    path.mkdir()
    return path
