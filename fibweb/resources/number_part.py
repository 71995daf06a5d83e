"""`/number/{n}?from=a&count=c`: some decimal digits of F(n).

The document that has them, and the one of a remainder (`fibweb.resources.remainder`), stand in
place of the number. They share the route, so either checks all of its parameters.
"""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon.bounds import Bounds
from fibcommon.costs import predicted_seconds
from fibcommon.formats import FORMATS
from fibcommon.sizes import value_digits
from fibweb.http.parameters import parse_index, parse_number
from fibweb.http.representations import check_format
from fibweb.resources.computed import Computation, ComputedResource

__all__ = ["NumberDocumentResource", "NumberPartResource"]

DEFAULT_COUNT = "100"

COUNT = Bounds(1, 10_000, "between 1 and 10000 (more: format=text with a Range header)")
"""How many digits one response has at most."""

_TEXT = FORMATS["text"]


class NumberDocumentResource(ComputedResource):
    """Base of the documents in place of a number, which are always JSON."""

    argument = "n"
    parameters = frozenset({"mod", "from", "count", "format", "download"})

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def part(self, query: Mapping[str, str]) -> tuple[int, int]:
        """Return the position of the first digit and the number of digits.

        Raises:
            ValueError: One of them, or the format, is invalid or out of bounds.
        """
        check_format(query.get("format", "json"))
        start = parse_index("from", query.get("from", "0"))
        return start, parse_number("count", query.get("count", DEFAULT_COUNT), COUNT)


class NumberPartResource(NumberDocumentResource):
    """`/number/{n}` with the parameters `from` or `count`, and without `mod`."""

    example = "/number/1000?from=0&count=100"

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the request for the digits."""
        start, count = self.part(query)
        n = parse_index("n", argument)
        digit_count = value_digits(n)

        def request() -> Mapping[str, object]:
            value = self._client.number_digits(n, start, count)
            return {"n": argument, "digits": str(digit_count), "from": start, "value": value}

        return Computation(
            ("part", n, start, count),
            predicted_seconds(_TEXT, n, n + 1),
            None,
            request,
        )
