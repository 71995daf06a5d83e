"""Accessibility: axe finds nothing; keyboard, themes and widths work."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.fibweb.page.conftest import DESKTOP
from tests.fibweb.page.site import ServedPage

PHONE = (390, 844)


def expect_no_violation(page: Page) -> None:
    """Expect that axe finds no violation."""
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize(  # colours depend on the scheme alone, everything else on the size
    ("size", "color_scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"]
)
def test_axe(
    open_page: Callable[..., Page], site: ServedPage, size: tuple[int, int], color_scheme: str
) -> None:
    """Axe finds no violation in any state: list, dialog, number, error, tables, outage."""
    page = open_page(site, "?first=100000", size=size, color_scheme=color_scheme)
    expect(page.locator("#health")).to_have_attribute("data-state", "up")
    expect(page.locator("#numbers .pending")).to_have_count(0)
    for summary in page.get_by_text("As a table").all():
        summary.click()
    page.locator("#numbers").press("End")
    expect_no_violation(page)

    page.keyboard.press("Enter")
    expect(page.locator("#dialog-summary")).to_have_text("20,899 digits")
    expect_no_violation(page)
    page.keyboard.press("Escape")

    for search in ("?number=1000", "?start=-1&count=9", "?first=0", "?number=10^100", "?x=100"):
        page.goto(f"{site.url}/{search}")
        expect(page.locator("#health")).to_have_attribute("data-state", "up")
        expect_no_violation(page)

    page.route("**/status", lambda route: route.abort())
    expect(page.locator("#outage")).to_be_visible()
    expect_no_violation(page)


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
@pytest.mark.parametrize(
    "search", ["?first=100000", "?number=100000", "?number=10^999", "?x=10^999"]
)
def test_any_width(visit: Callable[..., Page], width: int, search: str) -> None:
    """Nothing overflows horizontally at any width, and numbers fill their cells."""
    page = visit(search, size=(width, 800))
    shown = page.locator(".value:not(.pending):visible, #fact-itself a, #zeckendorf-terms:visible")
    expect(shown.first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overflowing = page.evaluate(
        """[...document.querySelectorAll(".rows .value")]
            .filter((cell) => cell.scrollWidth > cell.clientWidth + 1).length"""
    )
    assert overflowing == 0


def test_theme(open_page: Callable[..., Page], site: ServedPage) -> None:
    """The theme is that of the system until one is chosen, which is stored."""
    page = open_page(site, color_scheme="dark")

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = background()
    page.get_by_role("radio", name="Light").check()
    light = background()
    assert light != dark
    page.reload()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    assert background() == light
    page.get_by_role("radio", name="Dark").check()
    assert background() == dark
    page.get_by_role("radio", name="Auto").check()
    page.emulate_media(color_scheme="light")
    assert background() == light


def focused(page: Page) -> str:
    """Return the id of the focused element, or else its name."""
    return str(
        page.evaluate(
            """() => {
                const element = document.activeElement;
                const choice = `${element.name}=${element.value}`;
                return element.id || (element.value ? choice : element.textContent.trim());
            }"""
        )
    )


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page) == name:
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_keyboard_alone_suffices(home: Page) -> None:
    """Query, list, dialog and copy work without a pointer."""
    expect(home.get_by_role("option").first).to_be_visible()
    home.keyboard.press("Tab")
    assert focused(home) == "Skip to the numbers"
    expect(home.get_by_role("link", name="Skip to the numbers")).to_be_in_viewport()

    tab_to(home, "kind=first")
    home.keyboard.press("ArrowRight")
    expect(home.get_by_role("radio", name="A range")).to_be_checked()
    tab_to(home, "start")
    home.keyboard.type("500")
    tab_to(home, "count")
    home.keyboard.type("60")
    home.keyboard.press("Enter")
    expect(home.locator("#result-title")).to_have_text("60 numbers from F(500)")

    tab_to(home, "numbers")
    home.keyboard.press("End")
    home.keyboard.press("Enter")
    dialog = home.get_by_role("dialog", name="F(559)")
    expect(dialog.locator("#dialog-summary")).to_have_text("117 digits")
    tab_to(home, "dialog-copy")
    home.keyboard.press("Enter")
    expect(home.locator("#dialog-copy")).to_have_text("Copied")
    home.keyboard.press("Escape")
    assert focused(home) == "numbers"

    tab_to(home, "format=json")
    home.keyboard.press("ArrowRight")
    expect(home.get_by_role("radio", name="Text")).to_be_checked()
    tab_to(home, "copy")
    home.keyboard.press("Enter")
    expect(home.locator("#copy")).to_have_text("Copied")
    assert len(home.evaluate("navigator.clipboard.readText()").split()) == 60


def test_focus_is_visible(home: Page) -> None:
    """The focused element has an outline, or for a radio button its label."""
    expect(home.get_by_role("option").first).to_be_visible()
    seen: set[str] = set()
    for _ in range(40):
        home.keyboard.press("Tab")
        if home.evaluate("document.activeElement === document.body"):
            break  # after the last
        name = focused(home)
        seen.add(name)
        outline = home.evaluate(
            """() => {
                const element = document.activeElement;
                const radio = element.type === "radio";
                const marked = radio ? element.nextElementSibling : element;
                return getComputedStyle(marked).outlineStyle;
            }"""
        )
        assert outline == "solid", name
    assert {"first", "numbers", "copy", "download", "pause"} <= seen


def test_new_result_is_announced(home: Page) -> None:
    """A new result is announced to screen readers."""
    home.locator("#first").fill("12")
    home.locator("#first").press("Enter")
    expect(home.locator("#announcement")).to_have_text(
        "The first 12 numbers: The last has 2 digits. Choose one to see it in full."
    )
    expect(home.locator("#number-7")).to_have_attribute("aria-label", "F(7), 13")
