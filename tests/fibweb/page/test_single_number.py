"""One number F(n) for any n below 10^1000, and whether a number is a Fibonacci number."""

import json
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fibcommon.digits import digits as known_digits
from fibcommon.modular import fibonacci_mod
from tests.fibweb.page.site import ServedPage
from tests.support.expected import digits
from tests.support.servers import DEADLINE_SECONDS

GOOGOL = 10**100


def text_of(page: Page, name: str) -> str:
    """Return the digits of a fact, without what groups them."""
    return "".join(filter(str.isdigit, page.locator(f"#fact-{name}").inner_text()))


def test_number_far_too_long_to_compute(home: Page) -> None:
    """10^100 can be typed as such: its length, both ends, remainder and neighbours are shown."""
    home.get_by_role("radio", name="One number").check()
    home.locator("#number").fill("10^100")
    home.keyboard.press("Enter")
    expect(home.locator("#result-title")).to_have_text("F(10^100)")
    expect(home.locator("#result-summary")).to_contain_text("2.089…·10^99 digits")
    length, first, last = known_digits(GOOGOL, 50, 50)
    assert text_of(home, "digits") == str(length)
    assert text_of(home, "first") == first
    assert text_of(home, "last") == last
    expect(home.locator("#remainder")).to_have_text(str(fibonacci_mod(GOOGOL, 97)))
    home.get_by_label("Remainder by").fill("10^9+7")
    expect(home.locator("#remainder")).to_have_text(str(fibonacci_mod(GOOGOL, 10**9 + 7)))
    for name in ("take", "digits", "search", "digits-figure"):
        expect(home.locator(f"#{name}")).to_be_hidden()
    home.get_by_role("link", name="F(10^100 + 1)").click()
    expect(home.locator("#result-title")).to_have_text("F(10^100 + 1)")
    expect(home.locator("#number")).to_have_value("10^100+1")
    length, first, last = known_digits(GOOGOL + 1, 50, 50)
    assert text_of(home, "last") == last


def test_invalid_modulus(visit: Callable[..., Page]) -> None:
    """An invalid modulus is marked, with the reason; the other facts stay."""
    page = visit("?number=10^100")
    page.get_by_label("Remainder by").fill("0")
    expect(page.get_by_label("Remainder by")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#remainder")).to_contain_text("at least 1")
    page.get_by_label("Remainder by").fill("7")
    expect(page.get_by_label("Remainder by")).to_have_attribute("aria-invalid", "false")


def test_every_number_has_an_address(visit: Callable[..., Page], site: ServedPage) -> None:
    """The permanent link leads to the same number, and can be copied; the OEIS has them all."""
    page = visit("?number=1000")
    link = page.locator("#permanent")
    expect(link).to_have_text(f"{site.url}/?number=1000")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{site.url}/?number=1000"
    expect(page.get_by_role("link", name="A000045")).to_have_attribute(
        "href", "https://oeis.org/A000045"
    )
    page = visit("?number=10%5E100")
    expect(page.locator("#permanent")).to_have_attribute("href", "?number=10%5E100")
    expect(page.locator("#number")).to_have_value("10^100")


def test_last_number_has_one_neighbour(visit: Callable[..., Page]) -> None:
    """The page has no link to a number beyond the bound of n."""
    page = visit("?number=10%5E1000-1")
    expect(page.locator("#previous")).to_have_text("← F(10^1000 − 2)")
    expect(page.locator("#next")).to_be_hidden()


def test_zero_has_one_neighbour(visit: Callable[..., Page]) -> None:
    """Nothing comes before F(0); of a short number the ends are not shown apart."""
    page = visit("?number=0")
    expect(page.locator("#next")).to_have_text("F(1) →")
    expect(page.locator("#previous")).to_be_hidden()
    expect(page.locator("#fact-first")).to_be_hidden()
    expect(page.locator("#digits .value")).to_have_text("0")


@pytest.mark.parametrize(
    ("x", "answer", "terms"),
    [
        ("832040", "Yes: 832,040 is F(30).", ["F(30) = 832,040"]),
        ("1", "Yes: 1 is F(1) and F(2).", ["F(2) = 1"]),
        ("0", "Yes: 0 is F(0).", []),
        (
            "100",
            "No: 100 lies between F(11) = 89 and F(12) = 144.",
            ["F(11) = 89", "F(6) = 8", "F(4) = 3"],
        ),
    ],
)
def test_is_it_one(home: Page, x: str, answer: str, terms: list[str]) -> None:
    """A number is a Fibonacci number or lies between two, and is a sum of some."""
    home.get_by_role("radio", name="Is it one?").check()
    home.get_by_label("Is this a Fibonacci number?").fill(x)
    home.keyboard.press("Enter")
    expect(home.locator("#found-verdict")).to_have_text(answer)
    expect(home.locator("#zeckendorf-terms li")).to_have_text(terms)
    assert home.locator("#zeckendorf .part").count() == len(terms)
    assert home.url.endswith(f"?x={x}")
    expect(home.locator("#digits-figure output")).to_contain_text(" digit")


def test_bar_is_to_scale(visit: Callable[..., Page]) -> None:
    """The parts of the Zeckendorf bar are as wide as the terms are large."""
    page = visit("?x=100")
    expect(page.locator("#zeckendorf .part")).to_have_count(3)
    widths = page.locator("#zeckendorf .part").evaluate_all(
        "(parts) => parts.map((part) => part.getBoundingClientRect().width)"
    )
    assert [round(100 * width / sum(widths)) for width in widths] == [89, 8, 3]


def test_sum_of_a_long_number(visit: Callable[..., Page], site: ServedPage) -> None:
    """Of many terms the largest are listed, and the others counted."""
    page = visit("?x=10^3999")
    with urllib.request.urlopen(f"{site.url}/index/1{'0' * 3999}", timeout=DEADLINE_SECONDS) as it:
        terms = json.load(it)["zeckendorf"]
    expect(page.locator("#zeckendorf-summary")).to_contain_text(f"{len(terms):,} terms")
    expect(page.locator("#zeckendorf-terms li").first).to_have_text(f"F({terms[0]:,})")
    expect(page.locator("#zeckendorf-terms li").last).to_have_text(f"and {len(terms) - 24:,} more")


def test_an_index_may_be_a_fibonacci_number_itself(visit: Callable[..., Page]) -> None:
    """The view of F(n) also has whether n is a Fibonacci number, for whoever meant that."""
    page = visit("?number=832040")
    expect(page.locator("#fact-itself")).to_contain_text("Yes, it is F(30)")
    page.get_by_role("link", name="More about 832,040").click()
    expect(page.locator("#found-verdict")).to_have_text("Yes: 832,040 is F(30).")
    page.get_by_role("link", name="F(30)").first.click()
    expect(page.locator("#digits .value")).to_have_text("832040")


def test_digits_are_searched(visit: Callable[..., Page]) -> None:
    """Each occurrence is marked in turn, also across groups and lines."""
    page = visit("?number=20000")
    (number,) = digits(20_000, 20_001)
    wanted = number[8:12]
    page.get_by_label("Find digits").fill(wanted)
    expect(page.locator("mark")).to_have_text(f"{wanted[:2]} {wanted[2:]}")
    places = [at for at in range(len(number)) if number.startswith(wanted, at)]
    expect(page.locator("#search-result")).to_have_text(
        f"From digit 9, 1 of {len(places)}" if len(places) > 1 else "From digit 9, once"
    )
    page.get_by_label("Find digits").fill(number[-30:])
    expect(page.locator("#search-result")).to_have_text(f"From digit {len(number) - 29:,}, once")
    expect(page.locator("mark").last).to_be_in_viewport()
    marked = "".join(page.locator("mark").all_inner_texts()).replace(" ", "")
    assert marked == number[-30:]
    page.get_by_label("Find digits").fill("123456789123")
    expect(page.locator("#search-result")).to_have_text("Not among them")
    expect(page.locator("mark")).to_have_count(0)


def test_search_goes_round(visit: Callable[..., Page]) -> None:
    """Enter and the buttons lead from one occurrence to the next, and round."""
    page = visit("?number=300")
    (number,) = digits(300, 301)
    places = [at + 1 for at, digit in enumerate(number) if digit == "9"]
    field, result = page.get_by_label("Find digits"), page.locator("#search-result")
    field.fill("9")
    for index in (1, 2):
        expect(result).to_have_text(f"From digit {places[index - 1]}, {index} of {len(places)}")
        field.press("Enter")
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("button", name="Previous").click()
    expect(result).to_have_text(f"From digit {places[-1]}, {len(places)} of {len(places)}")


EXPRESSIONS = {
    "100": "100",
    "1,000_000": "1000000",
    "10^3": "1000",
    "10**3": "1000",
    "2^64-1": str(2**64 - 1),
    "3*10^5+7": "300007",
    "1e6": "1000000",
    "2^10^2": "2^10^2",
    "10^999999999": "10^999999999",
    "-1": "-1",
    "1.5": "1.5",
    "": "",
    "x": "x",
}
NAMES = {
    "1000": "1,000",
    str(GOOGOL): "10^100",
    str(GOOGOL - 1): "10^100 − 1",
    str(GOOGOL + 12): "10^100 + 12",
    "1234567890" * 5: "12345678…34567890",
}


def test_expressions(home: Page) -> None:
    """Numbers can be typed as powers, products and sums; other text is left to the service."""
    results = home.evaluate(
        """async ([typed, numbers]) => {
            const { evaluated, nameOf, shortened } = await import("/page/expressions.js");
            return [
                typed.map(evaluated), numbers.map(nameOf),
                numbers.map((number) => evaluated(shortened(number))),
            ];
        }""",
        [list(EXPRESSIONS), list(NAMES)],
    )
    assert results == [list(EXPRESSIONS.values()), list(NAMES.values()), list(NAMES)]
