"""The form: what an ask would get, while it is typed, and what to ask for instead."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fibcommon.formats import FORMATS
from tests.fibweb.page.site import ServedPage

LARGEST = "The first 143,342 numbers"


def type_in(page: Page, kind: str, **values: str) -> None:
    """Fill in the form without sending it."""
    page.get_by_role("radio", name=kind).check()
    for field, value in values.items():
        page.locator(f"#{field}").fill(value)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("The first N", {"first": "10"}, "65 B as JSON"),
        ("The first N", {"first": "100,000"}, "1.05 GB as JSON"),
        ("The first N", {"first": "143342"}, "2.15 GB as JSON"),
        ("The first N", {"first": "ten"}, ""),
        ("A range", {"start": "5", "count": "2"}, "41 B as JSON"),
        ("One number", {"number": "10^6"}, "208,988 digits"),
        (
            "One number",
            {"number": "10^100"},
            "2.09·10^99 digits: both ends and remainders are known",
        ),
        ("Is it one?", {"x": "832040"}, "6 digits"),
    ],
)
def test_size_is_shown_while_typing(
    home: Page, kind: str, values: dict[str, str], words: str
) -> None:
    """The size of the answer is known before it is asked for."""
    type_in(home, kind, **values)
    expect(home.locator("#hint")).to_have_text(words)
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")


@pytest.mark.parametrize(
    ("kind", "values", "words", "offers"),
    [
        ("The first N", {"first": "143343"}, "more than", [LARGEST, "F(143,343)"]),
        ("The first N", {"first": "10^100"}, "About 10^199 bytes", [LARGEST, "F(10^100)"]),
        (
            "The first N",
            {"first": "832040"},
            "72.3 GB",
            [LARGEST, "F(832,040)", "832,040 itself is F(30)"],
        ),
        (
            "A range",
            {"start": "9999999", "count": "3"},
            "up to F(10,000,000)",
            ["2 numbers from F(9,999,999)", "F(9,999,999)"],
        ),
        ("A range", {"start": "10^25", "count": "3"}, "up to F(10,000,000)", ["F(10^25)"]),
    ],
)
def test_too_large_has_offers(
    home: Page, kind: str, values: dict[str, str], words: str, offers: list[str]
) -> None:
    """Instead of an error there is the largest N that the servers answer, and single numbers."""
    type_in(home, kind, **values)
    expect(home.locator("#hint")).to_contain_text(words)
    expect(home.locator("#hint a")).to_have_text(offers)
    home.locator("#hint a").first.click()
    expect(home.locator("#result-title")).to_have_text(offers[0])
    expect(home.locator("#problem")).to_have_text("")


def test_too_many_to_list(home: Page, site: ServedPage) -> None:
    """Of a list that is too long its end is shown, beside what fits; what is typed stays."""
    home.locator("#first").fill("10^100")
    home.keyboard.press("Enter")
    expect(home.locator("#result-title")).to_have_text("F(10^100)")
    expect(home.locator("#hint a").first).to_have_text(LARGEST)
    expect(home.locator("#first")).to_have_value("10^100")
    assert home.url == f"{site.url}/?number=10%5E100"
    home.locator("#first").fill("832040")
    home.keyboard.press("Enter")
    expect(home.locator("#result-title")).to_have_text("F(832,040)")
    home.get_by_role("link", name="832,040 itself is F(30)").click()
    expect(home.locator("#found-verdict")).to_have_text("Yes: 832,040 is F(30).")
    home.go_back()
    home.go_back()
    expect(home.locator("#result-title")).to_have_text("F(10^100)")


def test_address_of_too_many(visit: Callable[..., Page], site: ServedPage) -> None:
    """An address of a list that is too long becomes that of what is shown, so Back works."""
    page = visit("?first=5")
    expect(page.locator("#result-title")).to_have_text("The first 5 numbers")
    page = visit("?first=99999999999")
    expect(page.locator("#result-title")).to_have_text("F(99,999,999,999)")
    assert page.url == f"{site.url}/?number=99999999999"
    page.go_back()
    expect(page.locator("#result-title")).to_have_text("The first 5 numbers")


def test_range_too_large_is_not_sent(home: Page) -> None:
    """The offers of a range are enough of an answer."""
    type_in(home, "A range", start="9999999", count="3")
    home.keyboard.press("Enter")
    expect(home.locator("#count")).to_have_attribute("aria-invalid", "true")
    expect(home.locator("#problem")).to_have_text("")
    expect(home.locator("#hint a")).to_have_count(2)
    expect(home.locator("#result-title")).to_have_text("The first 100 numbers")


def test_estimates(home: Page) -> None:
    """Sizes are exact for few numbers, and within a thousandth for any."""
    spans = [(0, 0), (0, 1), (0, 10), (0, 5000), (7, 1), (123, 456), (0, 6000), (10**6, 50_000)]
    spans += [(0, 143_342), (9_000_000, 6_000)]
    found = home.evaluate(
        """async (spans) => {
            const { estimatedBytes } = await import("/page/sequence.js");
            return spans.map(([start, count]) => estimatedBytes(start, count));
        }""",
        spans,
    )
    for (start, count), size in zip(spans, found, strict=True):
        members = f'{{"start": {start}, "N": {count}' if start else f'{{"N": {count}'
        exact = (
            FORMATS["json"].slice_size(start, start + count)
            + len(members)
            + len(', "result": []}')
        )
        assert abs(size - exact) <= (0 if count <= 5000 else exact / 1000)
