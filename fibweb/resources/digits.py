"""`/digits/{n}`: number of digits, first and last digits of F(n), for n < 10^1000."""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon import costs
from fibcommon.bounds import DIGIT_COUNT, INDEX
from fibcommon.digits import digits
from fibweb.http.parameters import parse_number
from fibweb.resources.computed import Computation, ComputedResource

__all__ = ["DigitsResource"]

DEFAULT_DIGITS = "20"


class DigitsResource(ComputedResource):
    """`/digits/{n}?first=k&last=k`; both counts are 20 by default."""

    argument = "n"
    example = "/digits/1000?first=5&last=5"
    parameters = frozenset({"first", "last"})

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of the digits of F(n)."""
        n = parse_number("n", argument, INDEX)
        first, last = (
            parse_number(name, query.get(name, DEFAULT_DIGITS), DIGIT_COUNT)
            for name in ("first", "last")
        )

        def members(found: tuple[int, str, str]) -> Mapping[str, object]:
            count, *ends = found
            return {"n": argument, "digits": str(count), "first": ends[0], "last": ends[1]}

        return Computation(
            ("digits", n, first, last),
            costs.digits_seconds(n, first, last),
            lambda: members(digits(n, first, last)),
            lambda: members(self._client.digits(n, first, last)),
        )
