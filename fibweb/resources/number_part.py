"""`/number/{n}?from=a&count=c`: some decimal digits of F(n)."""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon.bounds import Bounds
from fibcommon.costs import predicted_seconds
from fibcommon.formats import FORMATS
from fibcommon.sizes import value_digits
from fibweb.http.parameters import parse_index, parse_number
from fibweb.http.representations import MEDIA_TYPES
from fibweb.resources.computed import Computation, ComputedResource

__all__ = ["NumberPartResource", "requested_part"]

DEFAULT_COUNT = "100"

COUNT = Bounds(1, 10_000, "between 1 and 10000; for more, request bytes of format=text by Range")
"""How many digits one response has at most."""

_TEXT = FORMATS["text"]


def requested_part(query: Mapping[str, str]) -> tuple[int, int]:
    """Return the position of the first digit and the number of digits.

    Raises:
        ValueError: A parameter is invalid or out of bounds.
    """
    start = parse_index("from", query.get("from", "0"))
    return start, parse_number("count", query.get("count", DEFAULT_COUNT), COUNT)


class NumberPartResource(ComputedResource):
    """`/number/{n}` with the parameters `from` or `count`.

    The other parameters of the route are checked, but have no effect: the document is JSON.
    """

    argument = "n"
    parameters = frozenset({"from", "count", "format", "download"})

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the request for the digits."""
        if query.get("format", "json") not in MEDIA_TYPES:
            raise ValueError(f"format must be one of {', '.join(MEDIA_TYPES)}")
        n = parse_index("n", argument)
        digit_count = value_digits(n)
        start, count = requested_part(query)

        def request() -> Mapping[str, object]:
            value = self._client.number_digits(n, start, count)
            return {"n": argument, "digits": str(digit_count), "from": start, "value": value}

        return Computation(
            ("part", n, start, count),
            predicted_seconds(_TEXT, n, n + 1),
            None,
            request,
        )
