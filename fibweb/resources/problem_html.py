"""Error responses as HTML, for people who open an address in a browser."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from fibweb.resources.html_shell import plain_shell

__all__ = ["problem_html"]

MAX_PATH_CHARACTERS = 100
"""Longer paths, such as those with numbers of 4,000 digits, are shortened."""

_REMEDIES = {
    400: "Change the address, or start from one of these:",
    404: "Look for a typing error in the address, or start from one of these:",
    405: "The addresses of this service can only be read: use GET or HEAD.",
    406: "Add a format to the address, such as ?format=text. The formats are {formats}.",
    412: "Leave If-Match out, or send the entity tag of the current response.",
    416: "Request bytes before the end, or leave Range out for the whole response.",
    431: "Send shorter headers.",
    503: "The request itself is right. Try it again in {seconds}.",
}
"""What a person can do, by status."""

_REPORT = (
    "The request itself is right. Try it again later; if it fails again, report the request id "
    "to the operator of this service."
)

_QUERY = r"\?[a-z]+=\w+(?:&amp;[a-z]+=\w+)*"
_ADDRESS = re.compile(
    rf"(?:/[\w%.~-]+)*?/((?:fib|number|digits|index)(?:/[0-9]+(?:{_QUERY})?|{_QUERY})|limits)"
    r"(?![\w/{]|\.\w)"
)
"""Addresses in the details of errors, which become links, perhaps after the prefix of the site."""


def problem_html(
    problem: Mapping[str, Any],
    root: str,
    *,
    link: str | None = None,
    kind: str = "",
    retry_after: str | None = None,
    has_reference: bool = True,
) -> bytes:
    """Return an error as an HTML document.

    Args:
        problem: Members of the problem details.
        root: Relative URL of the root of the application.
        link: Address that was probably meant, below the root.
        kind: Name of the type of the problem; empty if the status tells all.
        retry_after: Value of the header Retry-After, in seconds.
        has_reference: Whether the application has the page and the reference.
    """
    title = escape(problem["title"])
    remedy = _REMEDIES.get(problem["status"], _REPORT).format(
        formats=", ".join(offer["format"] for offer in problem.get("available", ())),
        seconds="a second" if retry_after in (None, "1") else f"{retry_after} seconds",
    )
    detail = _ADDRESS.sub(
        lambda match: f'<a href="{root}{match[1]}">{match[0]}</a>', escape(problem["detail"])
    )
    actions = []
    if link:
        href = escape(root + link.removeprefix("/"))
        actions.append(f'<a class="button primary" href="{href}">Try {escape(link)}</a>')
    if has_reference:
        actions += [
            f'<a class="button" href="{root}">Fibonacci numbers</a>',
            f'<a class="button" href="{root}docs">Reference</a>',
        ]
    about = f'<a href="{root}problems/{kind}">About this kind of error</a>' if kind else ""
    main = f"""\
<main class="card notice-page">
<p class="status">{problem["status"]} <code>{_shortened(problem["instance"])}</code></p>
<h1>{title}</h1>
<p class="detail">{detail}</p>
<p>{escape(remedy)}</p>
<p class="actions">{" ".join(actions)}</p>
<p class="quiet">Request id <code>{escape(problem["request_id"])}</code> {about}</p>
</main>"""
    return plain_shell().document(f"{problem['status']} {problem['title']}", "", main, root)


def _shortened(path: str) -> str:
    """Return the beginning of a path as HTML."""
    is_long = len(path) > MAX_PATH_CHARACTERS
    return escape(path[:MAX_PATH_CHARACTERS] + ("…" if is_long else ""))
