"""Giant numbers: FIB.NUMBER of a fibserver that has just started, beside gmpy2 in this process.

Both compute F(n) and its decimal digits; fibserver also verifies and sends them. The sides take
turns, in alternating order.
"""

import socket
import sys
import time
from statistics import median

import click
import gmpy2  # type: ignore[import-untyped]
from servers import fibserver

__all__ = ["main"]

TARGETS = {1_000_000: 1.5, 10_000_000: 1.0}
"""Highest ratio to gmpy2 that is good enough, by n."""

DEADLINE_SECONDS = 60


def by_gmpy2(n: int) -> tuple[float, bytes]:
    """Return how long gmpy2 takes for the digits of F(n), in seconds, and the digits."""
    started = time.perf_counter()
    digits = gmpy2.fib(n).digits()
    return time.perf_counter() - started, digits.encode()


def by_fibserver(n: int) -> tuple[float, bytes]:
    """Return how long a new fibserver takes for the digits of F(n), in seconds, and the digits."""
    with (
        fibserver() as (port, _),
        socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as sock,
        sock.makefile("rb") as replies,
    ):
        sock.sendall(b"PING\r\n")
        replies.readline()
        started = time.perf_counter()
        sock.sendall(b"FIB.NUMBER %d\r\n" % n)
        size = int(replies.readline().removeprefix(b"$"))
        digits = replies.read(size)
        return time.perf_counter() - started, digits


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=11, show_default=True)
def main(rounds: int) -> None:
    """Compare the time for giant numbers, cold, with that of gmpy2."""
    layout = "{:<14} {:>24} {:>24} {:>6} {:>7}"
    click.echo(layout.format("number", "fibserver, ms", "gmpy2, ms", "ratio", "target"))
    for n, target in TARGETS.items():
        ours: list[float] = []
        other: list[float] = []
        with click.progressbar(range(rounds), label=f"F({n:,})", file=sys.stderr) as progress:
            for number in progress:
                sides = [(ours, by_fibserver), (other, by_gmpy2)]
                results = []
                for times, run in sides if number % 2 else sides[::-1]:
                    seconds, digits = run(n)
                    times.append(seconds * 1000)
                    results.append(digits)
                if results[0] != results[1]:
                    raise click.ClickException(f"the digits of F({n}) differ")
        ratio = median(a / b for a, b in zip(ours, other, strict=True))
        figures = (
            f"{median(each):.1f} ({min(each):.1f}-{max(each):.1f})" for each in (ours, other)
        )
        click.echo(layout.format(f"F({n:,})", *figures, f"{ratio:.2f}", target))


if __name__ == "__main__":
    main()
