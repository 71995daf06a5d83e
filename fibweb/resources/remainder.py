"""`/number/{n}?mod=m`: remainder of F(n) divided by m, for n and m below 10^1000."""

from collections.abc import Mapping

from fibcommon import costs
from fibcommon.bounds import INDEX, MODULUS
from fibcommon.modular import fibonacci_mod, reduced_index
from fibweb.http.parameters import parse_number
from fibweb.resources.computed import Computation
from fibweb.resources.number_part import NumberDocumentResource

__all__ = ["RemainderResource"]


class RemainderResource(NumberDocumentResource):
    """`/number/{n}` with the parameter `mod`; the others are checked, but have no effect."""

    example = "/number/1000?mod=97"

    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of F(n) mod m."""
        self.part(query)
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
