"""`/number/{n}?mod=m`: remainder of F(n) divided by m, for n and m below 10^1000."""

from collections.abc import Mapping

from fibclient import FibClient
from fibcommon import costs
from fibcommon.bounds import INDEX, MODULUS
from fibcommon.modular import fibonacci_mod, reduced_index
from fibweb.http.parameters import parse_number
from fibweb.http.representations import MEDIA_TYPES
from fibweb.resources.computed import Computation, ComputedResource
from fibweb.resources.number_part import requested_part

__all__ = ["RemainderResource"]


class RemainderResource(ComputedResource):
    """`/number/{n}` with the parameter `mod`.

    The other parameters of the route are checked, but have no effect: the document is JSON.
    """

    argument = "n"
    parameters = frozenset({"mod", "from", "count", "format", "download"})

    def __init__(self, client: FibClient) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
        """
        self._client = client

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of F(n) mod m."""
        if query.get("format", "json") not in MEDIA_TYPES:
            raise ValueError(f"format must be one of {', '.join(MEDIA_TYPES)}")
        requested_part(query)
        n = parse_number("n", argument, INDEX)
        modulus = parse_number("mod", query["mod"], MODULUS)

        def members(remainder: int) -> Mapping[str, object]:
            return {"n": argument, "m": query["mod"], "remainder": str(remainder)}

        index = reduced_index(n, modulus)
        return Computation(
            ("mod", n, modulus),
            costs.modular_seconds(index, modulus),
            lambda: members(fibonacci_mod(index, modulus)),
            lambda: members(self._client.mod(n, modulus)),
        )
