"""The reference in a browser: trying requests, widths, accessibility; and error pages."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, expect

from tests.fibweb.page.site import ServedPage

PHONE = (360, 800)
DESKTOP = (1280, 900)


def operation(page: Page, name: str) -> Locator:
    """Return the section of an operation."""
    return page.locator(f"#{name}")


def test_requests_can_be_tried(visit: Callable[..., Page]) -> None:
    """A form sends the described request, and shows status, headers and body."""
    page = visit("docs")
    form = operation(page, "part").locator("form")
    form.get_by_label("start").fill("7")
    form.get_by_label("format").select_option("csv")
    form.get_by_text("Headers").click()
    form.get_by_label("Range", exact=True).fill("bytes=0-3")
    expect(form.locator(".command")).to_contain_text(
        "curl -i -H 'Range: bytes=0-3' 'http://127.0.0.1:"
    )
    expect(form.locator(".command")).to_contain_text("/fib?start=7&count=3&format=csv'")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".outcome")).to_contain_text("206 Partial Content in ")
    expect(form.locator(".body")).to_have_text("7,13")
    expect(form.locator(".reply details")).to_contain_text("content-range: bytes 0-3/")


def test_errors_are_shown(visit: Callable[..., Page]) -> None:
    """An error is marked, and shown as the problem that a program gets."""
    page = visit("docs")
    form = operation(page, "first").locator("form")
    form.get_by_label("n", exact=True).fill("a/b?")
    form.get_by_label("n", exact=True).press("Enter")
    expect(form.locator(".outcome")).to_contain_text("400 Bad Request")
    expect(form.locator(".reply")).to_have_attribute("data-is-error", "true")
    expect(form.locator(".body")).to_contain_text("'a/b?'")


def test_large_bodies_are_cut(visit: Callable[..., Page]) -> None:
    """Only the beginning of a large body is downloaded and shown."""
    page = visit("docs")
    form = operation(page, "number").locator("form")
    form.get_by_label("n", exact=True).fill("1000000")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".reply .quiet")).to_have_text("The first 20,000 of 209,015 bytes.")
    assert len(form.locator(".body").text_content() or "") == 20_000


def test_without_scripts(browser: Browser, site: ServedPage) -> None:
    """Without scripts the reference is complete, and has no forms that do nothing."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/docs")
    expect(operation(page, "first")).to_be_visible()
    expect(page.locator("form")).to_have_count(page.locator("form[hidden]").count())
    expect(page.locator(".theme")).to_be_hidden()
    context.close()


@pytest.mark.parametrize("path", ["docs", "fibs/10", "problems/too-large"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280, 1920])
def test_any_width(visit: Callable[..., Page], path: str, width: int) -> None:
    """Nothing overflows horizontally, details included."""
    page = visit(path, size=(width, 800))
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("size", "color_scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"]
)
def test_axe(
    open_page: Callable[..., Page], site: ServedPage, size: tuple[int, int], color_scheme: str
) -> None:
    """Axe finds no violation in the reference and on error pages."""
    page = open_page(site, "docs", size=size, color_scheme=color_scheme)
    operation(page, "limits").get_by_role("button", name="Send").click()
    expect(operation(page, "limits").locator(".body")).to_contain_text("max_index")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    results = [Axe().run(page)]
    for path in ("fibs/10", "number/99999999", "problems/too-large"):
        page.goto(f"{site.url}/{path}")
        results.append(Axe().run(page))
    for result in results:
        assert result.violations_count == 0, result.generate_report()


def test_theme_is_shared(open_page: Callable[..., Page], site: ServedPage) -> None:
    """The chosen theme holds for the page, the reference and error pages."""
    page = open_page(site, "docs")
    page.get_by_role("radio", name="Dark").check()
    for path in ("", "docs", "nothing"):
        page.goto(f"{site.url}/{path}")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("path", ["Fib/10/", "/fib/10"])
def test_a_slip_leads_to_the_right_address(visit: Callable[..., Page], path: str) -> None:
    """A browser at a wrong address gets a page whose first link is the right one."""
    page = visit(path)
    expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
    page.get_by_role("link", name="Try /fib/10").click()
    expect(page.locator("body")).to_contain_text('"N": 10')
