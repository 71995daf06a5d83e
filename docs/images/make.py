"""Writer of the pictures in the README: the page, light and dark, and `fibclient top`.

Run `make images` after a visible change. It starts a fibserver and a fibweb on free ports, and
stops them at the end. The page is photographed in Debian's chromium.
"""

import random
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

from fibclient import FibClient
from tests.support.fibclient_command import on_terminal
from tests.support.fibweb_process import start_fibweb
from tests.support.servers import start_server

FOLDER = Path(__file__).parent

PAGE_WIDTH, PAGE_HEIGHT = 1200, 800
PAGE_QUERY = "?start=5000&count=50"

TERMINAL_COLUMNS, TERMINAL_ROWS = 92, 12
TOP_ARGUMENTS = ("top", "--interval", "0.5", "--count", "45")
CLIENTS = 3

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def main() -> None:
    """Write all pictures to this folder."""
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(Path(folder, "fibserver.log"), "--workers", "2")
        try:
            with load(server.address):
                (FOLDER / "top.svg").write_text(top(server.address))
            web = start_fibweb(Path(folder, "fibweb.log"), "--servers", server.address)
            try:
                for scheme in SCHEMES:
                    (FOLDER / f"page-{scheme}.png").write_bytes(page(web.address, scheme))
            finally:
                web.stop()
        finally:
            server.stop()


@contextmanager
def load(address: str) -> Iterator[None]:
    """Read numbers from a server in several threads, with random pauses."""
    done = threading.Event()

    def read(client: FibClient, generator: random.Random) -> None:
        while not done.wait(generator.random() / 5):
            for _ in range(generator.randrange(20, 400)):
                start = generator.randrange(20_000)
                client.read(start, start + 50, generator.choice(["json", "text", "binary"]))

    with FibClient(address, cache_bytes=0) as client:
        threads = [
            threading.Thread(target=read, args=(client, random.Random(seed)))
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()


def top(address: str) -> str:
    """Return the last view of `fibclient top` as SVG."""
    screen = on_terminal(
        *("--server", address, *TOP_ARGUMENTS),
        columns=TERMINAL_COLUMNS,
        rows=TERMINAL_ROWS,
        term="xterm-256color",
    )
    views = screen.raw.replace("\r\n", "\n").split("\x1b[H")
    view = views[-1].partition("\x1b[?")[0].rstrip()
    console = Console(file=StringIO(), width=TERMINAL_COLUMNS, record=True, force_terminal=True)
    console.print(Text.from_ansi(view))
    svg = console.export_svg(title="fibclient top", unique_id="top")
    # Without rich's web fonts, which viewers would fetch, they use a monospaced font of their own.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def page(url: str, scheme: Scheme) -> bytes:
    """Return a screenshot of the page as PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(
            viewport={"width": PAGE_WIDTH, "height": PAGE_HEIGHT},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        view.goto(f"{url}/{PAGE_QUERY}")
        view.get_by_role("option").first.wait_for()
        view.get_by_text("1 of 1 server up").wait_for()
        picture = view.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()
