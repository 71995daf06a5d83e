"""`/fib/{n}?digits=k` and `/fib?start=s&count=c&digits=k`: the ends of consecutive numbers.

The document stands in place of the numbers: it is a few kilobytes where they are megabytes.
"""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon import costs
from fibcommon.bounds import DIGIT_COUNT, INDEX
from fibcommon.digits import list_count, listed_digits
from fibweb.http.links import range_links
from fibweb.http.parameters import MissingParameter, parse_number
from fibweb.http.representations import check_format
from fibweb.resources.computed import Computation, ComputedResource

__all__ = ["FirstDigitsResource", "RangeDigitsResource"]


class _RangeDigits(ComputedResource):
    """Base of the two resources.

    Each number is what `/digits/{n}?first=k&last=k` has. It may be far above `max_index`.

    Attributes:
        kind: Beginning of the entity tag.
    """

    kind: str

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def _listed(
        self, query: Mapping[str, str], start: int, count_name: str, count_text: str
    ) -> Computation:
        """Return the computation of a list.

        Args:
            query: Known query parameters.
            start: Index of the first number.
            count_name: Name of the parameter that has the count.
            count_text: Its value.
        """
        check_format(query.get("format", "json"))
        shown = parse_number("digits", query["digits"], DIGIT_COUNT)
        count = parse_number(count_name, count_text, list_count(start, shown, shown))
        stop = start + count
        INDEX.check("the last index", max(start, stop - 1))
        begin = {"start": str(start)} if "count" in query else {}

        def members(found: list[tuple[int, str, str]]) -> Mapping[str, object]:
            numbers = [
                {"n": str(n), "digits": str(length), "first": first, "last": last}
                for n, (length, first, last) in enumerate(found, start)
            ]
            return {**begin, "N": count, "result": numbers}

        return Computation(
            (self.kind, start, count, shown),
            costs.listed_digits_seconds(start, count, shown, shown),
            lambda: members([*listed_digits(start, count, shown, shown)]),
            lambda: members([*self._client.range_digits(start, stop, shown, shown)]),
        )


class FirstDigitsResource(_RangeDigits):
    """`/fib/{n}` with the parameter `digits`."""

    kind = "first-digits"
    argument = "n"
    example = "/fib/10?digits=5"
    parameters = frozenset({"digits", "format", "download"})

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation for F(0) to F(n-1)."""
        return self._listed(query, 0, "n", argument)


class RangeDigitsResource(_RangeDigits):
    """`/fib` with the parameter `digits`."""

    kind = "range-digits"
    example = "/fib?start=100&count=10&digits=5"
    parameters = frozenset({"start", "count", "digits", "format", "download"})

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation for F(start) to F(start+count-1)."""
        if "count" not in query:
            raise MissingParameter("count", "how many numbers to return", "n", "/fib")
        start = parse_number("start", query.get("start", "0"), INDEX)
        return self._listed(query, start, "count", query["count"])

    def links(self, query: Mapping[str, str]) -> str:
        """Return links to the ranges before and after this one."""
        start, count = int(query.get("start", "0")), int(query["count"])
        return range_links(start, count, INDEX.maximum, f"digits={query['digits']}")
