"""Benchmark of what a fibserver finds again: in memory, and on disk after a restart.

Three times for a giant number are compared, from the request to the last digit: computed by a
server that has just started, requested again, and requested from another server that starts with
the same `state_dir`. The files are in the page cache.

The first 50,000 numbers as json, 261 MB, are requested from servers that start with and without a
`state_dir` that is full of other blocks; the time is from exec to the last byte, and the digest of
the reply is checked.
"""

import hashlib
import socket
import sys
import tempfile
import time
from decimal import Context, Decimal, localcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
from servers import fibserver

__all__ = ["main"]

FIRST = 50_000
GIANTS = (1_000_000, 10_000_000)
OTHER_BLOCKS = 200
CHUNK_BYTES = 1 << 20
DEADLINE_SECONDS = 120


def digest_of_first(n: int) -> str:
    """Return the digest of the first n numbers as json, computed by plain additions."""
    digest = hashlib.sha256()
    with localcontext(Context(prec=20_000)):
        current, following = Decimal(0), Decimal(1)
        for index in range(n):
            digest.update(f'{"," if index else ""}"{current}"'.encode())
            current, following = following, current + following
    return digest.hexdigest()


def request(port: int, command: str) -> tuple[float, bytes]:
    """Send a command; return the seconds until the end of its bulk reply, and the reply."""
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as sock,
        sock.makefile("rb", CHUNK_BYTES) as replies,
    ):
        sock.sendall(b"PING\r\n")
        replies.readline()
        started = time.perf_counter()
        sock.sendall(f"{command}\r\n".encode())
        size = int(replies.readline().removeprefix(b"$"))
        reply = replies.read(size)
        return time.perf_counter() - started, reply


class Found(NamedTuple):
    """Seconds for one giant number."""

    computed: float
    in_memory: float
    on_disk: float


def find_again(n: int, state: Path) -> Found:
    """Request a number twice from one server, and once from the next."""
    command = f"FIB.NUMBER {n} FORMAT text"
    with fibserver("--state-dir", str(state)) as (port, _):  # saves the number when it stops
        results = [request(port, command) for _ in range(2)]
    with fibserver("--state-dir", str(state)) as (port, _):
        results.append(request(port, command))
    if len({reply for _, reply in results}) != 1:
        raise click.ClickException(f"the digits of F({n}) differ")
    return Found(*(seconds for seconds, _ in results))


def start_and_read(digest: str, *args: str) -> float:
    """Return the seconds from exec to the last byte of the first numbers."""
    started = time.perf_counter()
    with fibserver(*args) as (port, _):
        _, reply = request(port, f"FIB.FIRST {FIRST} FORMAT json")
        seconds = time.perf_counter() - started
    if hashlib.sha256(reply).hexdigest() != digest:
        raise click.ClickException("the digest of the reply is wrong")
    return seconds


def print_giants(found: dict[int, list[Found]]) -> None:
    """Print the medians of the giant numbers, with the ratios to computing them."""
    layout = "{:<14} {:>13} {:>15} {:>7} {:>13} {:>7}"
    click.echo(
        layout.format("number", "computed, ms", "in memory, ms", "ratio", "on disk, ms", "ratio")
    )
    for n, times in found.items():
        computed, in_memory, on_disk = (
            median(column) * 1000 for column in zip(*times, strict=True)
        )
        memory_ratio = median(each.in_memory / each.computed for each in times)
        disk_ratio = median(each.on_disk / each.computed for each in times)
        click.echo(
            layout.format(
                f"F({n:,})",
                f"{computed:.1f}",
                f"{in_memory:.1f}",
                f"{memory_ratio:.3f}",
                f"{on_disk:.1f}",
                f"{disk_ratio:.3f}",
            )
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(rounds: int) -> None:
    """Compare computing with finding again, and starts with and without a state_dir."""
    digest = digest_of_first(FIRST)
    found: dict[int, list[Found]] = {n: [] for n in GIANTS}
    without: list[float] = []
    full: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-restart-") as directory:
        with fibserver("--state-dir", directory) as (port, _):
            for number in range(OTHER_BLOCKS):
                request(port, f"FIB.NUMBER {200_000 + number} FORMAT text")
        with click.progressbar(range(rounds), label="rounds", file=sys.stderr) as progress:
            for number in progress:
                for n in GIANTS:
                    with tempfile.TemporaryDirectory(prefix="bench-restart-") as state:
                        found[n].append(find_again(n, Path(state)))
                sides = [(without, ()), (full, ("--state-dir", directory))]
                for times, args in sides if number % 2 else sides[::-1]:
                    times.append(start_and_read(digest, *args))
    click.echo(f"Medians of {rounds} rounds; ratios are medians of those of the rounds.")
    print_giants(found)
    ratio = median(a / b for a, b in zip(full, without, strict=True))
    click.echo(
        f"Start and the first {FIRST:,} as json: {median(without):.2f} s, "
        f"with a full state_dir {median(full):.2f} s, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
