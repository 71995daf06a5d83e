"""The plots: their lines, descriptions, tables, and the selected point."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from fibcommon.sizes import value_digits
from tests.support.expected import fibonacci


def figure(page: Page, name: str) -> Locator:
    """Return a figure by its heading."""
    return page.get_by_role("figure").filter(has=page.get_by_role("heading", name=name))


def test_plot_of_digits(visit: Callable[..., Page]) -> None:
    """The plot covers the requested range, and its label describes it."""
    digits = figure(visit("?start=1000&count=501"), "Digits over n")
    expect(digits.get_by_role("img")).to_have_attribute(
        "aria-label",
        "Line: the number of digits grows steadily, "
        "from 209 digits at n = 1,000 to 314 digits at n = 1,500",
    )
    expect(digits.locator("output")).to_have_text("F(1,500) has 314 digits")
    points = digits.locator("polyline").get_attribute("points") or ""
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) > 100


def test_labels_are_different(visit: Callable[..., Page]) -> None:
    """The rules of a plot have different labels, also where only the last digits differ."""
    for search in ("?start=300000&count=20", "?first=100000"):
        digits = figure(visit(search), "Digits over n")
        expect(digits.locator("polyline")).to_have_count(1)
        labels = digits.locator("text[text-anchor=end]").all_text_contents()
        assert len(labels) == len(set(labels)) > 3
        box = digits.get_by_role("img").bounding_box()
        lefts = [label.bounding_box() for label in digits.locator("text").all()]
        assert box is not None
        assert all(left is not None and left["x"] >= box["x"] for left in lefts)


@pytest.mark.parametrize("key", ["Home", "ArrowLeft"])
def test_keys_select_a_point(visit: Callable[..., Page], key: str) -> None:
    """Keys move the selected point; its n and number of digits are shown."""
    digits = figure(visit("?first=1000"), "Digits over n")
    slider = digits.get_by_role("slider")
    expect(slider).to_have_value("999")
    slider.press(key)
    n = {"Home": 0, "ArrowLeft": 998}[key]
    words = f"F({n}) has {value_digits(n)} digit{'s' if n else ''}"
    expect(digits.locator("output")).to_have_text(words)
    expect(slider).to_have_attribute("aria-valuetext", words)


def test_slider_is_below_the_cursor(visit: Callable[..., Page]) -> None:
    """At both ends the centre of the thumb, 16 pixels wide, is below the cursor of the plot."""
    digits = figure(visit("?first=1000"), "Digits over n")
    for key, side in (("Home", "left"), ("End", "right")):
        digits.get_by_role("slider").press(key)
        ends = digits.evaluate(
            """(figure, side) => ["input", ".cursor"].map(
                (part) => figure.querySelector(part).getBoundingClientRect()[side])""",
            side,
        )
        assert abs(abs(ends[0] - ends[1]) - 8) <= 1


def test_pointer_selects_a_point(visit: Callable[..., Page]) -> None:
    """The selected point follows the pointer."""
    digits = figure(visit("?first=1001"), "Digits over n")
    expect(digits.locator("output")).to_have_text("F(1,000) has 209 digits")
    digits.get_by_role("img").hover(position={"x": 46, "y": 100})
    expect(digits.locator("output")).to_have_text("F(0) has 1 digit")


def test_ratio_is_exact(home: Page) -> None:
    """The ratio of neighbours is exact; its digits that agree with φ are emphasized."""
    ratio = figure(home, "closes in on φ")
    slider, output = ratio.get_by_role("slider"), ratio.locator("output")
    agreeing = []
    for n in (1, 5, 10, 24):
        slider.fill(str(n))
        current, following = fibonacci(n, n + 2)
        decimals = f"{following * 10**12 // current:013d}"
        text = f"{following:,} / {current:,} = {decimals[0]}.{decimals[1:]}"
        expect(output).to_have_text(text)
        agreeing.append(len(output.locator("b").inner_text()))
    assert agreeing == sorted(agreeing)
    assert agreeing[-1] >= 9


def test_plots_have_tables(home: Page) -> None:
    """Each plot has its values as a table."""
    ratio = figure(home, "closes in on φ")
    ratio.get_by_text("As a table").click()
    rows = ratio.get_by_role("row")
    expect(rows).to_have_count(25)
    expect(rows.nth(2)).to_have_text("22.000000000000")
    digits = figure(home, "Digits over n")
    digits.get_by_text("As a table").click()
    expect(digits.get_by_role("row").last).to_have_text("9921")
