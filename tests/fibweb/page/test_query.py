"""Queries: the form, the examples, the address of the page, and error messages."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fibweb.page.site import ServedPage
from tests.support.expected import digits

MANY = 10**1000


def ask(page: Page, kind: str, **values: object) -> None:
    """Fill in the form and submit it."""
    page.get_by_role("radio", name=kind).check()
    for field, value in values.items():
        page.locator(f"#{field}").fill(str(value))
    page.get_by_role("button", name="Show").click()


def expect_row(page: Page, n: int, value: str) -> None:
    """Expect a visible row with all digits of F(n)."""
    row = page.locator(f"#number-{n}")
    expect(row.locator(".n")).to_have_text(f"F({n:,})")
    expect(row.locator(".value")).to_have_text(value)


def test_page_opens_with_numbers(home: Page) -> None:
    """The page opens with the first 100 numbers."""
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    for n, value in enumerate(digits(0, 10)):
        expect_row(home, n, value)


def test_service_decides_if_limits_are_unknown(
    open_page: Callable[..., Page], site: ServedPage
) -> None:
    """If the page cannot read the limits, the service rejects a list that is too long."""
    page = open_page(site)
    page.route("**/limits", lambda route: route.abort())
    page.goto(f"{site.url}/?first=10%5E400")
    expect(page.locator("#problem")).to_contain_text("n has 401 digits, beyond any limit")
    expect(page.locator("#result")).to_be_hidden()


def test_first_n_lists_n_numbers(home: Page) -> None:
    """The first N lists N numbers, each with its number of digits."""
    ask(home, "The first N", first=7)
    expect(home.locator("#result-title")).to_have_text("The first 7 numbers")
    expect(home.get_by_role("option")).to_have_count(7)
    expect_row(home, 6, "8")
    expect(home.locator("#number-6 .note")).to_have_text("1 digit")


def test_range_lists_its_numbers(home: Page) -> None:
    """A range lists `count` numbers from F(start) on."""
    ask(home, "A range", start=200, count=3)
    expect(home.locator("#result-title")).to_have_text("3 numbers from F(200)")
    expect(home.get_by_role("option")).to_have_count(3)
    for n, value in enumerate(digits(200, 203), 200):
        expect_row(home, n, value)


def test_one_number_is_shown_in_full(home: Page) -> None:
    """One number is shown in full, in groups of ten digits."""
    ask(home, "One number", number=300)
    expect(home.locator("#result-title")).to_have_text("F(300)")
    expect(home.locator("#result-summary")).to_have_text("63 digits")
    shown = "".join(home.locator("#digits .value").all_inner_texts())
    assert shown.replace(" ", "") == digits(300, 301)[0]
    expect(home.locator("#numbers")).to_be_hidden()


def test_first_0_is_an_empty_list(home: Page) -> None:
    """For the first 0 numbers the page states that the list is empty."""
    ask(home, "The first N", first=0)
    expect(home.get_by_text("No numbers at all")).to_be_visible()
    expect(home.locator("#size-text")).to_have_text("0 B")


@pytest.mark.parametrize("text", ["1,000", "1_000", " 1 000 ", "1'000"])
def test_separators_between_digits_are_ignored(home: Page, text: str) -> None:
    """Thousands separators are ignored."""
    ask(home, "The first N", first=text)
    expect(home.locator("#result-title")).to_have_text("The first 1,000 numbers")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("The first N", {"first": "-1"}, "give a whole number from 0 on"),
        ("The first N", {"first": "ten"}, "'ten'"),
        ("The first N", {"first": ""}, "give a whole number from 0 on"),
        ("A range", {"start": "1.5", "count": "3"}, "start"),
        ("A range", {"start": "0", "count": "x"}, "count"),
        ("One number", {"number": MANY}, "below 10^1000"),
        ("Is it one?", {"x": "1.5"}, "x is '1.5': give a whole number from 0 on, in digits only"),
        ("One number", {"number": "../healthz"}, "give a whole number from 0 on"),
    ],
)
def test_error_is_shown_and_field_marked(
    home: Page, kind: str, values: dict[str, object], words: str
) -> None:
    """The service's message is shown, the field is marked, and the previous numbers stay."""
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    ask(home, kind, **values)
    expect(home.locator("#problem")).to_contain_text(words)
    expect(home.locator(".field:visible input[aria-invalid=true]").first).to_be_visible()
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    assert "?" not in home.url, "the address is that of what is shown"
    ask(home, "The first N", first=5)
    expect(home.locator("#problem")).to_have_text("")
    expect(home.locator("[aria-invalid=true]")).to_have_count(0)


def test_message_has_no_example_address(home: Page) -> None:
    """The example of the message, an address, is for programs, not for the form."""
    ask(home, "The first N", first="")
    expect(home.locator("#problem")).to_have_text("n is empty: give a whole number from 0 on")


def test_only_the_wrong_field_is_marked(home: Page) -> None:
    """Only the field that the error names is marked."""
    ask(home, "A range", start="7", count="x")
    expect(home.locator("[aria-invalid=true]")).to_have_count(1)
    expect(home.locator("#count")).to_have_attribute("aria-invalid", "true")


def test_each_query_has_an_address(
    home: Page, site: ServedPage, open_page: Callable[..., Page]
) -> None:
    """The address reproduces the query, and the back button returns to the previous one."""
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    ask(home, "A range", start=200, count=3)
    expect(home.locator("#result-title")).to_have_text("3 numbers from F(200)")
    assert home.url == f"{site.url}/?start=200&count=3"

    other = open_page(site, "?start=200&count=3")
    expect(other.locator("#result-title")).to_have_text("3 numbers from F(200)")
    expect(other.get_by_role("radio", name="A range")).to_be_checked()
    expect(other.locator("#start")).to_have_value("200")

    home.go_back()
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    expect(home.locator("#first")).to_be_visible()
    home.go_forward()
    expect(home.locator("#result-title")).to_have_text("3 numbers from F(200)")


def test_refused_address(visit: Callable[..., Page]) -> None:
    """An address that the service refuses has the reason, and no controls without numbers."""
    page = visit("?first=abc")
    expect(page.locator("#problem")).to_contain_text("'abc'")
    for part in ("result", "growth", "elsewhere"):
        expect(page.locator(f"#{part}")).to_be_hidden()
    ask(page, "The first N", first=5)
    expect(page.get_by_role("option")).to_have_count(5)
    expect(page.locator("#growth")).to_be_visible()
    page.go_back()
    expect(page.locator("#problem")).to_contain_text("'abc'")
    expect(page.locator("#result")).to_be_hidden()
    expect(page).to_have_title("Fibonacci numbers, exactly")


def test_links_within_the_page_keep_what_is_typed(home: Page) -> None:
    """A link to a part of the page asks for nothing and changes no field."""
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")
    home.locator("#first").fill("77")
    home.locator("#health").click()
    assert home.url.endswith("#state")
    home.go_back()
    expect(home.locator("#first")).to_have_value("77")


def test_title(home: Page) -> None:
    """The title of the window is that of what is shown."""
    expect(home).to_have_title("The first 100 numbers – Fibonacci numbers, exactly")
    ask(home, "One number", number="10^100")
    expect(home).to_have_title("F(10^100) – Fibonacci numbers, exactly")


def test_form_without_scripts(browser: Browser, site: ServedPage) -> None:
    """Without scripts the form is a plain one for a range, and is answered as text."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url)
    expect(page.locator("#start")).to_be_visible()
    for part in ("#first", "#result", "#state", ".theme"):
        expect(page.locator(part)).to_be_hidden()
    page.locator("#start").fill("10")
    page.locator("#count").fill("3")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("body")).to_have_text("55 89 144")
    context.close()


@pytest.mark.parametrize(("size", "rows"), [((1280, 720), 5), ((390, 844), 4)])
def test_numbers_are_above_the_fold(
    visit: Callable[..., Page], size: tuple[int, int], rows: int
) -> None:
    """Without scrolling several numbers are in sight, on a laptop and on a phone."""
    page = visit("", size)
    expect(page.locator(f"#number-{rows - 1} .value")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("the first 10", "The first 10 numbers"),
        ("the first 100,000", "The first 100,000 numbers"),
        ("50 from F(5,000)", "50 numbers from F(5,000)"),
        ("F(1,000,000)", "F(1,000,000)"),
    ],
)
def test_example_links(home: Page, name: str, title: str) -> None:
    """Each example link shows its numbers."""
    home.get_by_role("link", name=name, exact=True).click()
    expect(home.locator("#result-title")).to_have_text(title)
