"""Questions that are put at each door of the service: RESP, REST, library, shell and page."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from playwright.sync_api import Page, expect

from fibclient import FibClient

__all__ = ["ANSWERED", "REJECTED", "Question"]

GOOGOL = str(10**100)
LONG = "9" * 1000
LONGEST = "9" * 4000


class Question(NamedTuple):
    """One question, as it is put at each door.

    Attributes:
        command: Words of the command over RESP.
        target: Path and query of the request over REST.
        call: Call of the client library.
        arguments: Arguments on the command line.
        reduced: Reduces the document of REST, or of the command line, to what the client library
            returns.
        search: Query of the page's address.
        expect_on_page: Expects the answer of the client library on the page; None if the page has
            no such question.
    """

    command: str
    target: str
    call: Callable[[FibClient], object]
    arguments: str
    reduced: Callable[[Any], object]
    search: str = ""
    expect_on_page: Callable[[Page, Any], None] | None = None


MAX_INDEX = 10_000_000
"""Index of the last number in a list of the page."""

MAX_PAGE_DIGITS = 50
"""How many of the first and last digits the page shows."""

MAX_PAGE_ROWS = 9
"""How many rows of a list are surely visible."""

MAX_PAGE_TERMS = 24
"""How many terms of a Zeckendorf sum the page lists."""


def digits(n: str, first: int, last: int) -> Question:
    """Ask for the number of digits, the first and the last ones."""

    def expect_on_page(page: Page, answer: tuple[int, str, str]) -> None:
        count, expected_first, expected_last = answer
        expect(page.locator("#facts")).to_be_visible()
        assert _digits_in(page, "#fact-digits") == str(count)
        shown_first, shown_last = (_digits_in(page, f"#fact-{name}") for name in ("first", "last"))
        assert shown_first[:first] == expected_first[:MAX_PAGE_DIGITS]
        assert shown_last.endswith(expected_last[-MAX_PAGE_DIGITS:])

    return Question(
        f"FIB.DIGITS {n} FIRST {first} LAST {last}",
        f"/digits/{n}?first={first}&last={last}",
        lambda fib: fib.digits(int(n), first, last),
        f"digits {n} --first {first} --last {last}",
        _ends,
        f"?number={n}",
        expect_on_page,
    )


def _ends(found: Any) -> tuple[int, str, str]:
    return int(found["digits"]), found["first"], found["last"]


def _digits_in(page: Page, selector: str) -> str:
    """Return the digits of an element, without what groups them."""
    return "".join(filter(str.isdigit, page.locator(selector).text_content() or ""))


def range_digits(start: str, count: int, shown: int) -> Question:
    """Ask for both ends of consecutive numbers."""

    def expect_on_page(page: Page, answer: list[tuple[int, str, str]]) -> None:
        for n, (digit_count, first, last) in enumerate(answer[:MAX_PAGE_ROWS], int(start)):
            row = page.locator(f"#number-{n}")
            plural = "" if digit_count == 1 else "s"
            expect(row.locator(".note")).to_have_text(f"{digit_count:,} digit{plural}")
            expect(row.locator(".pending")).to_have_count(0)
            head, _, tail = row.locator(".value").inner_text().partition("…")
            common = min(len(head), len(tail or head), shown)
            assert (head[:common], (tail or head)[-common:]) == (first[:common], last[-common:])

    return Question(
        f"FIB.DIGITS {start} FIRST {shown} LAST {shown} COUNT {count}",
        f"/fib?start={start}&count={count}&digits={shown}",
        lambda fib: fib.range_digits(int(start), int(start) + count, shown, shown),
        f"digits {start} --first {shown} --last {shown} --count {count}",
        lambda found: [_ends(each) for each in _numbers(found)],
        f"?start={start}&count={count}",
        expect_on_page if int(start) < MAX_INDEX else None,
    )


def mod(n: str, m: str) -> Question:
    """Ask for a remainder."""

    def expect_on_page(page: Page, answer: int) -> None:
        groups = " ".join(re.findall(".{1,10}", str(answer)))
        page.get_by_label("Remainder by").fill(m)
        expect(page.locator("#remainder")).to_have_text(groups)

    return Question(
        f"FIB.MOD {n} {m}",
        f"/number/{n}?mod={m}",
        lambda fib: fib.mod(int(n), int(m)),
        f"mod {n} {m}",
        lambda found: int(found["remainder"]),
        f"?number={n}",
        expect_on_page,
    )


def index(x: str) -> Question:
    """Ask which Fibonacci number x is."""

    def expect_on_page(page: Page, answer: Any) -> None:
        indices, below, above, terms = answer
        expect(page.locator("#found-verdict")).to_contain_text("Yes" if indices else "No")
        assert _indices_in(page, "#found-verdict") == list(indices or (below, above))
        assert _indices_in(page, "#zeckendorf-terms") == list(terms[:MAX_PAGE_TERMS])

    return Question(
        f"FIB.INDEX {x}",
        f"/index/{x}",
        lambda fib: fib.index(int(x)),
        f"index {x}",
        lambda found: (
            tuple(found["indices"]),
            found["below"],
            found["above"],
            tuple(found["zeckendorf"]),
        ),
        f"?x={x}",
        expect_on_page,
    )


def _indices_in(page: Page, selector: str) -> list[int]:
    """Return n of each F(n) in an element."""
    text = page.locator(selector).text_content() or ""
    return [int(index.replace(",", "")) for index in re.findall(r"F\(([0-9,]+)\)", text)]


def first_index(length: str) -> Question:
    """Ask for the first index whose number has a number of digits."""
    return Question(
        f"FIB.INDEX DIGITS {length}",
        f"/index?digits={length}",
        lambda fib: fib.first_index(int(length)),
        f"index --digits {length}",
        lambda found: int(found["index"]),
    )


def first(n: str) -> Question:
    """Ask for the first numbers."""

    def expect_on_page(page: Page, answer: list[int]) -> None:
        expect(page.locator("#numbers" if answer else "#empty")).to_be_visible()
        for index, value in enumerate(answer[:MAX_PAGE_ROWS]):
            expect(page.locator(f"#number-{index} .value")).to_have_text(str(value))

    return Question(
        f"FIB.FIRST {n}",
        f"/fib/{n}",
        lambda fib: fib.first(int(n)),
        f"first {n}",
        lambda found: [int(value) for value in _numbers(found)],
        f"?first={n}",
        expect_on_page,
    )


def _numbers(found: Any) -> list[Any]:
    """Return the numbers, which the command line prints without more."""
    numbers: list[Any] = found if isinstance(found, list) else found["result"]
    return numbers


def number(n: str) -> Question:
    """Ask for one number."""

    def expect_on_page(page: Page, answer: int) -> None:
        expect(page.locator("#digits .value").first).to_be_visible()
        assert "".join(page.locator("#digits .value").all_inner_texts()).replace(" ", "") == str(
            answer
        )

    return Question(
        f"FIB.NUMBER {n}",
        f"/number/{n}",
        lambda fib: fib.number(int(n)),
        f"number {n}",
        lambda found: int(found["value"]),
        f"?number={n}",
        expect_on_page,
    )


def number_digits(n: str, start: int, count: int) -> Question:
    """Ask for some digits of a number."""

    def expect_on_page(page: Page, answer: str) -> None:
        expect(page.locator("#search")).to_be_visible()
        page.get_by_label("Find digits").fill(answer)
        found = re.compile(rf"^From digit {start + 1:,}, " if answer else "^$")
        expect(page.locator("#search-result")).to_have_text(found)

    return Question(
        f"FIB.NUMBER {n} FROM {start} COUNT {count}",
        f"/number/{n}?from={start}&count={count}",
        lambda fib: fib.number_digits(int(n), start, count),
        f"number {n} --from {start} --count {count}",
        lambda found: found["value"],
        f"?number={n}",
        expect_on_page,
    )


ANSWERED = [
    number_digits("0", 0, 5),
    number_digits("100", 0, 3),
    number_digits("100", 19, 100),
    number_digits("100", 21, 1),
    number_digits("100000", 10_000, 40),
    digits("0", 20, 20),
    digits("1000", 5, 0),
    digits(GOOGOL, 20, 20),
    digits(LONG, 1000, 20),
    digits(LONG, 0, 1000),
    range_digits("300000", 5, 45),
    range_digits("0", 0, 5),
    range_digits("0", 3, 5),
    range_digits("9", 1000, 20),
    range_digits(GOOGOL, 2, 0),
    range_digits(LONG, 1, 1000),
    mod("0", "1"),
    mod("1000", "97"),
    mod(GOOGOL, "1000000007"),
    mod(LONG, "1000"),
    mod(LONG, LONG),
    index("0"),
    index("1"),
    index("100"),
    index("832040"),
    index(LONGEST),
    first_index("1"),
    first_index("1000"),
    first_index(LONG[1:]),
    first("0"),
    first("100"),
    number("300"),
]

REJECTED = [
    (digits("1" + "0" * 1000, 1, 1), "must be at least 0 and below 10^1000"),
    (digits("5", 1001, 0), "must be between 0 and 1000"),
    (range_digits("5", 1001, 0), "must be between 0 and 1000 for 0 first and 0 last digits of"),
    (range_digits("9999900", 619, 45), "must be between 0 and 618 for 45 first and 45 last"),
    (range_digits(LONG, 2, 1), "the last index must be at least 0 and below 10^1000"),
    (mod("5", "0"), "must be at least 1 and below 10^1000"),
    (index("1" + LONGEST), "must be at least 0 and have at most 4000 digits"),
    (first_index("0"), "must be at least 1 and at most the number of digits of F(10^1000 - 1)"),
    (first_index("3" + LONG[1:]), "at most the number of digits of F(10^1000 - 1)"),
    (first("1000000"), "max_answer_bytes is 2.1 GB (2147483648 bytes); request at most "),
    (number("10000001"), "F(10000001) is too large: max_index is 10000000"),
]
