"""Benchmark of the time from exec to a complete reply: cold starts against starts with a snapshot.

The request is for the first 50,000 numbers as json, 261 MB; the digest of the reply is checked.
Cold starts and starts with a snapshot take turns; the files of the snapshot are in the page cache.
"""

import hashlib
import socket
import tempfile
import time
from decimal import Context, Decimal, localcontext
from pathlib import Path
from statistics import median

import click
from servers import fibserver

__all__ = ["main"]

N = 50_000
CHUNK_BYTES = 1 << 20


def digest_of_first(n: int) -> str:
    """Return the digest of the first n numbers as json, computed by plain additions."""
    digest = hashlib.sha256()
    with localcontext(Context(prec=20_000)):
        current, following = Decimal(0), Decimal(1)
        for index in range(n):
            digest.update(f'{"," if index else ""}"{current}"'.encode())
            current, following = following, current + following
    return digest.hexdigest()


def read_reply(port: int) -> bytes:
    """Request the first `N` numbers, and return the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.sendall(b"FIB.FIRST %d FORMAT json\r\n" % N)
        with sock.makefile("rb", CHUNK_BYTES) as reader:
            size = int(reader.readline()[1:])
            return bytes(reader.read(size))


def measure(state: Path | None, expected_digest: str) -> float:
    """Return the seconds from the start of a server to the last byte of the reply."""
    args = ("--state-dir", str(state)) if state else ()
    started = time.perf_counter()
    with fibserver(*args) as (port, _):
        reply = read_reply(port)
        seconds = time.perf_counter() - started
        if hashlib.sha256(reply).hexdigest() != expected_digest:
            raise click.ClickException("the digest of the reply is wrong")
    return seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(rounds: int) -> None:
    """Compare cold starts with starts from a snapshot."""
    expected_digest = digest_of_first(N)
    with tempfile.TemporaryDirectory(prefix="bench-restart-") as directory:
        state = Path(directory)
        measure(state, expected_digest)  # saves the snapshot when it stops
        size = sum(path.stat().st_size for path in state.iterdir())
        cold, warm = [], []
        for _ in range(rounds):
            cold.append(measure(None, expected_digest))
            warm.append(measure(state, expected_digest))
    ratios = [first / second for first, second in zip(cold, warm, strict=True)]
    click.echo(f"First {N:,} as json; medians of {rounds} rounds; snapshot {size / 1e6:.0f} MB")
    click.echo(f"cold      {median(cold):.2f} s")
    click.echo(f"snapshot  {median(warm):.2f} s")
    click.echo(f"ratio     {median(ratios):.2f}")


if __name__ == "__main__":
    main()
