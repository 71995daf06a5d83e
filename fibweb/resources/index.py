"""`/index/{x}` and `/index?digits=d`: from a number, or a number of digits, back to an index."""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon import costs
from fibcommon.bounds import LENGTH, VALUE
from fibcommon.indices import first_index_with_digits, position, zeckendorf
from fibweb.http.parameters import MissingParameter, parse_number
from fibweb.resources.computed import Computation, ComputedResource

__all__ = ["FirstIndexResource", "IndexResource"]


class IndexResource(ComputedResource):
    """`/index/{x}`: which Fibonacci number x is, its neighbours, and its Zeckendorf sum."""

    argument = "x"
    example = "/index/832040"

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of the indices."""
        x = parse_number("x", argument, VALUE)
        return Computation(
            ("index", x),
            costs.zeckendorf_seconds(x),
            lambda: {
                "x": argument,
                **position(x)._asdict(),
                "zeckendorf": list(zeckendorf(x)),
            },
            lambda: {"x": argument, **self._client.index(x)._asdict()},
        )


class FirstIndexResource(ComputedResource):
    """`/index?digits=d`: the smallest n whose F(n) has d decimal digits."""

    parameters = frozenset({"digits"})
    example = "/index?digits=1000"

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of the index."""
        if "digits" not in query:
            raise MissingParameter("digits", "the number of digits", "x", "/index")
        length = parse_number("digits", query["digits"], LENGTH)
        # Computed here, because some lengths turn out to be out of bounds.
        members = {"digits": query["digits"], "index": str(first_index_with_digits(length))}
        return Computation(("first-index", length), 0, lambda: members)
