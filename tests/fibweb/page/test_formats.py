"""Formats of the result: sizes, download, copy, print; recipes for other programs."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fibweb.page.conftest import Pages
from tests.fibweb.page.site import ServedPage
from tests.support.expected import digits, expected
from tests.support.servers import DEADLINE_SECONDS, RunningServer

SHOWN_MS = 2_500
"""Longer than the page shows "Copied"."""

FORMATS = ("json", "text", "csv", "ndjson", "bfile", "binary")


def body(format: str, start: int, stop: int) -> bytes:
    """Return the body of the response for a range."""
    encoded = expected(format, start, stop)
    if format == "json":
        return b'{"start": %d, "N": %d, "result": [%b]}' % (start, stop - start, encoded)
    return encoded


def choose(page: Page, format: str) -> None:
    """Choose a format."""
    page.locator(f"#formats input[value={format}]").check()


@pytest.fixture(scope="module")
def part(browser: Browser, site: ServedPage) -> Iterator[Page]:
    """Return the page with F(100) to F(119), whose sizes have all arrived."""
    pages = Pages(browser)
    page = pages.open(site, "?start=100&count=20", has_clock=True)
    for format in FORMATS:
        size = len(body(format, 100, 120))
        expect(page.locator(f"#size-{format}")).to_have_attribute("title", f"{size:,} bytes")
    yield page
    pages.close()
    pages.check()


@pytest.mark.parametrize("format", FORMATS)
def test_download(part: Page, format: str) -> None:
    """A download has the expected bytes and a file name with the bounds."""
    choose(part, format)
    with part.expect_download() as download:
        part.locator("#download").click()
    assert download.value.path().read_bytes() == body(format, 100, 120)
    assert download.value.suggested_filename.startswith("fibonacci-100-120.")


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "binary"])
def test_copy(part: Page, format: str) -> None:
    """The numbers are copied; the button and a live region report it."""
    choose(part, format)
    part.locator("#copy").click()
    expect(part.locator("#copy")).to_have_text("Copied")
    expect(part.locator("#announcement")).to_have_text("Copied to the clipboard")
    assert part.evaluate("navigator.clipboard.readText()") == body(format, 100, 120).decode()
    part.clock.run_for(SHOWN_MS)
    expect(part.locator("#copy")).to_have_text("Copy")


def test_copy_over_plain_http(open_page: Callable[..., Page], site: ServedPage) -> None:
    """Copying works in browsers without the clipboard API."""
    hidden = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
    page = open_page(site, "?first=5", script=hidden)
    choose(page, "csv")
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    page.locator("#first").fill("")
    page.locator("#first").press("Control+v")
    # The field has one line, so newlines become spaces.
    assert page.locator("#first").input_value().split() == ["0,0", "1,1", "2,1", "3,2", "4,3"]


def test_large_and_binary_cannot_be_copied(visit: Callable[..., Page]) -> None:
    """Binary and too large results can only be downloaded."""
    page = visit("?first=100000")
    expect(page.locator("#size-json")).to_have_text("1.05 GB")
    expect(page.locator("#copy")).to_be_disabled()
    visit("?first=10")
    expect(page.locator("#copy")).to_be_enabled()
    choose(page, "binary")
    expect(page.locator("#copy")).to_be_disabled()


def test_print(visit: Callable[..., Page]) -> None:
    """Printed are all numbers with all digits, not only those in sight, and no controls."""
    page = visit("?first=1000")
    expect(page.locator("#number-0 .value")).to_have_text("0")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    lines = page.locator("#print p").all_inner_texts()
    assert lines[:1000] == [f"F({n}) = {value}" for n, value in enumerate(digits(0, 1000))]
    for part in ("form", "numbers", "take", "growth", "elsewhere", "state"):
        expect(page.locator(f"#{part}")).to_be_hidden()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#print")).to_be_hidden()
    page = visit("?number=2500")
    expect(page.locator("#result-summary")).to_have_text("523 digits")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#print").inner_text().replace(" ", "").strip() == digits(2500, 2501)[0]


def run(command: list[str], folder: Path) -> bytes:
    """Run a command; return its output, or the file that it writes."""
    done = subprocess.run(
        command, cwd=folder, check=True, timeout=DEADLINE_SECONDS, stdout=subprocess.PIPE
    )
    files = list(folder.iterdir())
    return files[0].read_bytes() if files else done.stdout


def recipe(page: Page, name: str) -> str:
    """Copy a recipe with its button, and return it."""
    button = page.get_by_role("button", name=f"Copy for {name}")
    button.click()
    expect(button).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert isinstance(text, str)
    page.clock.run_for(SHOWN_MS)
    expect(button).to_have_text("Copy")
    return text


@pytest.mark.parametrize("format", FORMATS)
def test_curl_recipe(part: Page, format: str, folder: Path, program: Callable[[str], str]) -> None:
    """The command for curl fetches the same bytes."""
    program("curl")
    choose(part, format)
    command = recipe(part, "curl").replace("curl ", "curl --silent --fail ")
    assert run(["sh", "-c", command], folder) == body(format, 100, 120)


@pytest.mark.parametrize("format", FORMATS)
def test_python_recipe(part: Page, format: str, folder: Path) -> None:
    """The code for Python prints or writes the same numbers."""
    choose(part, format)
    output = run([sys.executable, "-c", recipe(part, "Python")], folder)
    if format == "json":
        assert ast.literal_eval(output.decode()) == json.loads(body(format, 100, 120))
    else:
        assert output == expected(format, 100, 120)


@pytest.mark.parametrize("format", FORMATS)
def test_javascript_recipe(part: Page, format: str) -> None:
    """The lines for JavaScript answer the same."""
    choose(part, format)
    last = {"json": "answer.result.join()", "binary": "[...new Uint8Array(answer)]"}
    script = f"{recipe(part, 'JavaScript')} return {last.get(format, 'answer')};"
    answer = part.evaluate(f"(async () => {{ {script} }})()")
    if format == "json":
        assert answer.split(",") == digits(100, 120)
    elif format == "binary":
        assert bytes(answer) == expected(format, 100, 120)
    else:
        assert answer.encode() == expected(format, 100, 120)


@pytest.mark.parametrize("format", FORMATS)
def test_powershell_recipe(part: Page, site: ServedPage, format: str) -> None:
    """PowerShell has a command that prints, and one that saves bytes."""
    choose(part, format)
    url = f"{site.url}/fib?start=100&count=20{'' if format == 'json' else f'&format={format}'}"
    expected_line = f"Invoke-RestMethod '{url}'"
    if format == "binary":
        expected_line = f"Invoke-WebRequest '{url}' -OutFile fibonacci-100-120.bin"
    assert recipe(part, "PowerShell") == expected_line


@pytest.fixture
def public_site(server: RunningServer, tmp_path: Path) -> Iterator[ServedPage]:
    """Return a fibweb whose visitors reach the fibserver."""
    config = tmp_path / "fibweb.toml"
    config.write_text(f'public_server = "{server.address}"')
    running = ServedPage(tmp_path, server.address, "--config", str(config))
    yield running
    running.stop()


def test_redis_recipe(
    open_page: Callable[..., Page],
    site: ServedPage,
    public_site: ServedPage,
    folder: Path,
    program: Callable[[str], str],
) -> None:
    """There are commands for redis-cli, which return the same, only if visitors reach a server."""
    program("redis-cli")
    page = open_page(public_site, "?start=100&count=20", has_clock=True)
    assert run(["sh", "-c", recipe(page, "redis-cli")], folder).decode().split() == digits(
        100, 120
    )
    for format in ("csv", "text"):
        choose(page, format)
        expect(page.locator("#download")).to_contain_text("Download ")
        output = run(["sh", "-c", recipe(page, "redis-cli")], folder)
        assert output == expected(format, 100, 120) + b"\n"  # redis-cli ends with a line break
    page = open_page(public_site, "?number=10%5E100", has_clock=True)
    expect(page.locator("#result-title")).to_have_text("F(10^100)")
    output = run(["sh", "-c", recipe(page, "redis-cli")], folder)
    assert output.decode().split()[2:4] == ["first", "62449911286460687648"]
    page = open_page(site, "?start=100&count=20")
    expect(page.locator("#size-csv")).not_to_have_text("…")
    expect(page.get_by_role("button", name="Copy for redis-cli")).to_have_count(0)


@pytest.mark.parametrize("search", ["?first=3000", "?number=1000000", "?start=30000&count=20"])
def test_recipes_for_more(
    open_page: Callable[..., Page],
    site: ServedPage,
    search: str,
    folder: Path,
    program: Callable[[str], str],
) -> None:
    """Large answers are saved, and are the same."""
    program("curl")
    page = open_page(site, search, has_clock=True)
    expect(page.locator("#download")).to_contain_text("kB")
    (python, curl) = (folder / "python", folder / "curl")
    python.mkdir()
    curl.mkdir()
    by_python = run([sys.executable, "-c", recipe(page, "Python")], python)
    by_curl = run(["sh", "-c", recipe(page, "curl")], curl)
    assert by_python == by_curl
    assert list(python.iterdir())


@pytest.mark.parametrize(
    ("search", "path"),
    [("?number=10^100", f"digits/1{'0' * 100}"), ("?x=832040", "index/832040")],
)
def test_recipes_for_documents(
    visit: Callable[..., Page], site: ServedPage, search: str, path: str
) -> None:
    """What is known of a number without computing it can be requested from elsewhere too."""
    page = visit(search)
    expect(page.locator("#recipes code").first).to_have_text(f"curl '{site.url}/{path}'")
