"""The list of numbers: only visible rows have elements, and any number opens in full."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from playwright.sync_api import Page, Response, Route, expect

from fibcommon.sizes import value_digits
from tests.fibweb.page.site import ServedPage
from tests.support.expected import digits
from tests.support.waiting import wait_until

MANY = 100_000
MOST_ROWS = 60
"""More rows of 36 pixels than the windows of these tests show."""

COUNT_TASKS = """() => {
    window.ticks = 0;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => { window.ticks += 1; channel.port2.postMessage(null); };
    channel.port2.postMessage(null);
}"""


@pytest.fixture
def long_list(open_page: Callable[..., Page], site: ServedPage) -> Page:
    """Return the page with the first 100,000 numbers."""
    page = open_page(site, f"?first={MANY}")
    expect(page.locator("#result-title")).to_have_text("The first 100,000 numbers")
    return page


def has_seen(page: Page, events: Sequence[object]) -> bool:
    """Return whether there are events, after a call that lets Playwright deliver them."""
    page.evaluate("0")
    return bool(events)


def active_row(page: Page) -> str | None:
    """Return the id of the active row."""
    return page.locator("#numbers").get_attribute("aria-activedescendant")


def expect_shortened(page: Page, n: int) -> None:
    """Expect a row with both ends of F(n) and its number of digits."""
    row = page.locator(f"#number-{n}")
    expect(row.locator(".value")).to_contain_text("…")
    head, tail = row.locator(".value").inner_text().split("…")
    number = page.request.get(page.url.split("?")[0] + f"number/{n}?format=text").text().strip()
    assert number.startswith(head)
    assert number.endswith(tail)
    assert len(head) >= 10
    assert len(tail) >= 10
    expect(row.locator(".note")).to_have_text(f"{value_digits(n):,} digits")


def test_closed_form_gives_numbers_of_digits(long_list: Page) -> None:
    """The closed form of the page gives the exact number of digits of any number."""
    indices = [*range(2000), *range(2000, 10_000_000, 4_999)]
    lengths = long_list.evaluate(
        """async (indices) => {
            const { digitsOf } = await import("/page/sequence.js");
            return indices.map(digitsOf);
        }""",
        indices,
    )
    assert lengths == [value_digits(n) for n in indices]


def test_only_visible_rows_are_in_the_page(long_list: Page) -> None:
    """Of 100,000 numbers only some dozens have rows, at any scroll position."""
    received = []

    def on_response(response: Response) -> None:
        if response.request.method == "GET":  # HEAD fetches the size of the whole
            received.append(int(response.headers["content-length"]))

    long_list.on("response", on_response)
    numbers = long_list.locator("#numbers")
    for share in (0, 0.25, 0.5, 0.75, 1):
        numbers.evaluate(
            "(list, share) => { list.scrollTop = share * list.scrollHeight }",
            share,
        )
        expect(numbers.locator(".pending")).to_have_count(0)
        assert long_list.get_by_role("option").count() <= MOST_ROWS
    expect_shortened(long_list, MANY - 1)
    expect(long_list.locator("#number-99999")).to_have_attribute("aria-posinset", "100000")
    expect(long_list.locator("#number-99999")).to_have_attribute("aria-setsize", "100000")
    assert 0 < sum(received) < 500_000


def test_list_of_giants_is_small(open_page: Callable[..., Page], site: ServedPage) -> None:
    """Of numbers with millions of digits only both ends are loaded, until one is opened."""
    page = open_page(site)
    loaded = []

    def on_response(response: Response) -> None:
        if response.request.method == "GET" and "fib?" in response.url:
            loaded.append(len(response.body()))

    page.on("response", on_response)
    page.goto(f"{site.url}/?start=9999981&count=20")
    last = page.locator("#number-10000000")
    last.scroll_into_view_if_needed()
    expect(last.locator(".note")).to_have_text("2,089,877 digits")
    expect(last.locator(".value")).to_contain_text(re.compile("^1129834378.*….*6380546875$"))
    expect(last).to_have_attribute("aria-label", re.compile("from 1129834378 to 6380546875$"))
    assert 0 < sum(loaded) < 10_000
    for format in ("json", "text", "csv", "ndjson", "bfile", "binary"):
        expect(page.locator(f"#size-{format}")).to_contain_text(" MB")


def test_middle_of_short_numbers_is_shown(visit: Callable[..., Page]) -> None:
    """In a list that is too long to be loaded whole, short numbers have all their digits."""
    page = visit(f"?start=270&count={MANY}")
    for n, value in enumerate(digits(270, 275), 270):
        expect(page.locator(f"#number-{n} .value")).to_have_text(value)
        expect(page.locator(f"#number-{n} .note")).to_have_text(f"{len(value)} digits")


def test_page_stays_responsive_while_fetching(long_list: Page) -> None:
    """While numbers are being fetched, input works, and tasks run between all steps."""
    held: list[Route] = []
    is_holding = True

    def on_request(route: Route) -> None:
        if is_holding:
            held.append(route)
        else:
            route.continue_()

    long_list.route("**/fib?start=*", on_request)
    numbers = long_list.locator("#numbers")
    long_list.evaluate(COUNT_TASKS)
    ticks = [long_list.evaluate("ticks")]
    for step in range(1, 11):
        numbers.evaluate("(list, top) => { list.scrollTop = top }", step * 300_000)
        long_list.evaluate("new Promise(requestAnimationFrame)")
        ticks.append(long_list.evaluate("ticks"))
    assert all(before < after for before, after in pairwise(ticks))
    wait_until(lambda: has_seen(long_list, held), "a request for numbers")

    expect(numbers.locator(".pending").first).to_be_visible()
    long_list.get_by_role("radio", name="Dark").check()
    long_list.locator("#first").fill("12")
    expect(long_list.locator("#first")).to_have_value("12")
    numbers.focus()
    long_list.keyboard.press("ArrowDown")
    assert active_row(long_list) == "number-1"

    is_holding = False
    for route in held:
        route.continue_()
    expect(numbers.locator(".pending")).to_have_count(0)


def test_request_for_hidden_rows_is_aborted(long_list: Page) -> None:
    """A request for rows that are not visible any more is aborted."""
    aborted = []
    long_list.on("requestfailed", lambda request: aborted.append(request.url))
    held: list[Route] = []
    long_list.route("**/fib?start=*", lambda route: held.append(route))
    numbers = long_list.locator("#numbers")
    numbers.evaluate("(list) => { list.scrollTop = 1_000_000 }")
    wait_until(lambda: has_seen(long_list, held), "a request for numbers")
    numbers.evaluate("(list) => { list.scrollTop = 0 }")
    wait_until(lambda: has_seen(long_list, aborted), "it is given up")


def test_keys_move_active_row(long_list: Page) -> None:
    """Arrow keys, Page Up and Down, Home and End move the active row, which stays visible."""
    numbers = long_list.locator("#numbers")
    numbers.focus()
    for key, n in (
        ("ArrowDown", 1),
        ("ArrowDown", 2),
        ("ArrowUp", 1),
        ("End", MANY - 1),
        ("ArrowDown", MANY - 1),
        ("ArrowUp", MANY - 2),
        ("Home", 0),
        ("ArrowUp", 0),
    ):
        long_list.keyboard.press(key)
        assert active_row(long_list) == f"number-{n}"
        row = long_list.locator(f"#number-{n}")
        expect(row).to_be_in_viewport()
        expect(row).to_have_attribute("aria-selected", "true")
    long_list.keyboard.press("PageDown")
    page_down = active_row(long_list)
    long_list.keyboard.press("PageUp")
    assert page_down not in ("number-0", "number-1")
    assert active_row(long_list) == "number-0"
    expect(long_list.locator("[aria-selected=true]")).to_have_count(1)


def test_go_to_n(long_list: Page) -> None:
    """Go to n activates F(n); if the list does not contain n, the page shows its range."""
    long_list.get_by_label("Go to n").fill("77,777")
    long_list.get_by_role("button", name="Go", exact=True).click()
    expect(long_list.locator("#number-77777")).to_be_in_viewport()
    expect_shortened(long_list, 77_777)
    expect(long_list.locator("#numbers")).to_be_focused()
    long_list.get_by_label("Go to n").fill("123456789")
    long_list.keyboard.press("Enter")
    expect(long_list.get_by_label("Go to n")).to_have_attribute("aria-invalid", "true")
    expect(long_list.locator("#jump-result")).to_have_text("This list has F(0) to F(99,999)")
    long_list.get_by_label("Go to n").fill("99,999")
    long_list.keyboard.press("Enter")
    expect(long_list.locator("#number-99999")).to_be_in_viewport()
    expect(long_list.locator("#jump-result")).to_be_hidden()


@pytest.mark.parametrize("how", ["click", "Enter", " "])
def test_number_opens_in_full(long_list: Page, how: str) -> None:
    """Click, Enter and Space open a number, with all digits to read, copy and download."""
    (value,) = digits(2500, 2501)
    long_list.get_by_label("Go to n").fill("2500")
    long_list.keyboard.press("Enter")
    if how == "click":
        long_list.locator("#number-2500").click()
    else:
        long_list.keyboard.press(how)
    dialog = long_list.get_by_role("dialog", name="F(2,500)")
    expect(dialog.locator("#dialog-summary")).to_have_text("523 digits")
    lines = dialog.locator("#dialog-digits .value")
    expect(lines).to_have_count(6)
    assert "".join(lines.all_inner_texts()).replace(" ", "") == value
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert long_list.evaluate("navigator.clipboard.readText()") == value
    with long_list.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    assert download.value.path().read_text() == value + "\n"
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(long_list.locator("#numbers")).to_be_focused()
    long_list.keyboard.press("Enter")
    dialog.get_by_role("link", name="More about it").click()
    expect(dialog).to_be_hidden()
    expect(long_list.locator("#result-title")).to_have_text("F(2,500)")


def test_click_while_numbers_arrive(long_list: Page) -> None:
    """A click opens a number although its digits arrive while the button is down."""
    held: list[Route] = []
    long_list.route("**/fib?start=*", lambda route: held.append(route))
    long_list.get_by_label("Go to n").fill("60000")
    long_list.keyboard.press("Enter")
    wait_until(lambda: has_seen(long_list, held), "the numbers are requested")
    value = long_list.locator("#number-60000 .value")
    box = value.bounding_box()
    assert box is not None
    long_list.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    long_list.mouse.down()
    for route in held:
        route.continue_()
    expect(value).to_contain_text("…")
    long_list.mouse.up()
    expect(long_list.get_by_role("dialog", name="F(60,000)")).to_be_visible()


def test_only_visible_lines_of_a_number_have_elements(visit: Callable[..., Page]) -> None:
    """Of two million digits only the visible lines have elements; the last digits are right."""
    page = visit("?number=10000000")
    expect(page.locator("#result-summary")).to_have_text("2,089,877 digits")
    page.locator("#digits").focus()
    page.keyboard.press("End")
    last = page.locator("#digits .row", has_text="2,089,801")
    expect(last).to_be_in_viewport()
    # F(10^7) mod 10^77, by doubling.
    expected = str(fibonacci_modulo(10_000_000, 10**77))
    assert last.locator(".value").inner_text().replace(" ", "") == expected
    assert page.locator("#digits .row").count() <= MOST_ROWS


def fibonacci_modulo(n: int, modulus: int) -> int:
    """Return F(n) mod m by fast doubling."""
    current, following = 0, 1
    for bit in bin(n)[2:]:
        double = current * (2 * following - current)
        odd = current * current + following * following
        current, following = (odd, double + odd) if bit == "1" else (double, odd)
        current, following = current % modulus, following % modulus
    return current


def test_list_taller_than_browsers_allow(visit: Callable[..., Page]) -> None:
    """A million rows scroll in proportion, and each can be reached."""
    page = visit("?first=5")
    page.evaluate(
        """async () => {
            const { VirtualRows } = await import("/page/virtual_rows.js");
            const box = document.getElementById("numbers");
            box.replaceChildren();
            window.rows = new VirtualRows(box, (row, index) => { row.textContent = index; });
            rows.reset(1_000_000);
        }"""
    )
    page.locator("#numbers").scroll_into_view_if_needed()
    for index in (999_999, 0, 500_000, 500_001):
        page.evaluate("(index) => rows.reveal(index)", index)
        expect(
            page.locator("#numbers .row").get_by_text(str(index), exact=True)
        ).to_be_in_viewport()
    assert page.locator("#numbers .row").count() <= MOST_ROWS
