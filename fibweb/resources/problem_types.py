"""Types of problems (RFC 9457) whose causes a program can tell apart by more than the status.

The URI of a type is `/problems/` and its name, where `fibweb.resources.problem_pages` serves a
page that explains it.
"""

from typing import NamedTuple

__all__ = ["OUT_OF_BOUNDS", "PROBLEM_TYPES", "TOO_LARGE", "UNKNOWN_PARAMETER", "ProblemType"]


class ProblemType(NamedTuple):
    """A type of problems.

    Attributes:
        name: Last segment of its URI.
        title: What is wrong, for people.
        paragraphs: Text of the page about it.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...]


TOO_LARGE = ProblemType(
    "too-large",
    "Response too large",
    (
        "The response would exceed a limit of the fibservers: max_index, the largest index of a "
        "number, or max_answer_bytes, the largest size of the numbers in one response.",
        "The member setting has the name of the limit, limit its value, and size what the "
        "response would have: its last index or its number of bytes. The member largest_n is how "
        "many numbers from the same start the limits allow, in the same format. These members are "
        "missing if a number in the request has more than 19 digits, which no limit allows.",
        "Request at most largest_n numbers at once, and further ones with /fib?start=s&count=c. "
        "The limits are at /limits. For n < 10^1000 the number of digits, the first and the last "
        "ones are at /digits/{n}, for a range with its parameter digits, and remainders at "
        "/number/{n}?mod=m.",
    ),
)
OUT_OF_BOUNDS = ProblemType(
    "out-of-bounds",
    "Parameter out of bounds",
    (
        "A number in the path or the query is smaller or larger than any that the service "
        "accepts, whatever its settings. The member parameter has its name, and detail the "
        "bounds.",
    ),
)
UNKNOWN_PARAMETER = ProblemType(
    "unknown-parameter",
    "Unknown parameter",
    (
        "The query has a parameter whose name is almost that of another one, so it is probably "
        "misspelled. The member parameter has the name, and suggestion the known one.",
        "Parameters whose names resemble no known one are ignored.",
    ),
)

PROBLEM_TYPES = {kind.name: kind for kind in (TOO_LARGE, OUT_OF_BOUNDS, UNKNOWN_PARAMETER)}
"""All types by name."""
