"""The same bytes on both sides: what fibserver answers, checked, and put into redis-server."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext

import click
from cold_fill import EXACT
from servers import client

__all__ = ["copy_slices"]


def copy_slices(fib_port: int, redis_port: int, keys: Mapping[str, int]) -> None:
    """Give redis the slices that fibserver serves, each checked against plain additions.

    Args:
        fib_port: of a fibserver.
        redis_port: of a redis-server.
        keys: for each the n whose first n numbers it is to hold, as `json`.
    """
    elements = list(_elements(max(keys.values())))
    with client(fib_port) as fib, client(redis_port) as other:
        for key, n in keys.items():
            value = fib.execute_command("FIB.FIRST", n, "FORMAT", "json")
            if value != b",".join(elements[:n]):
                raise click.ClickException(f"fibserver answers FIB.FIRST {n} wrongly")
            other.set(key, value)


def _elements(count: int) -> Iterator[bytes]:
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for _ in range(count):
            yield f'"{current}"'.encode()
            current, following = following, current + following
