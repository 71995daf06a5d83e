"""Copies of fibserver's slices in redis-server, so that both serve the same bytes."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext

import click
from cold_fill import EXACT
from servers import client

__all__ = ["copy_slices"]


def copy_slices(fib_port: int, redis_port: int, keys: Mapping[str, int]) -> None:
    """Copy slices from fibserver to redis-server, and check them against plain additions.

    Args:
        fib_port: Port of a fibserver.
        redis_port: Port of a redis-server.
        keys: For each key the n of its value, the first n numbers as `json`.

    Raises:
        click.ClickException: A slice is wrong.
    """
    elements = list(_elements(max(keys.values())))
    with client(fib_port) as fib, client(redis_port) as other:
        for key, n in keys.items():
            value = fib.execute_command("FIB.FIRST", n, "FORMAT", "json")
            if value != b",".join(elements[:n]):
                raise click.ClickException(f"wrong reply of fibserver to FIB.FIRST {n}")
            other.set(key, value)


def _elements(count: int) -> Iterator[bytes]:
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for _ in range(count):
            yield f'"{current}"'.encode()
            current, following = following, current + following
