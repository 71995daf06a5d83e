"""From exec to the first right reply: a cold start, and one with a snapshot.

The reply is that to the first 50,000 numbers as json, 261 MB, whose digest must be right. Both
sides start a process of their own in turn; the snapshot's files are in the page cache.
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
    """Return the digest of the right answer, added up one by one."""
    digest = hashlib.sha256()
    with localcontext(Context(prec=20_000)):
        current, following = Decimal(0), Decimal(1)
        for index in range(n):
            digest.update(f'{"," if index else ""}"{current}"'.encode())
            current, following = following, current + following
    return digest.hexdigest()


def ask(port: int) -> bytes:
    """Return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.sendall(b"FIB.FIRST %d FORMAT json\r\n" % N)
        with sock.makefile("rb", CHUNK_BYTES) as reader:
            size = int(reader.readline()[1:])
            return bytes(reader.read(size))


def measure(state: Path | None, right: str) -> float:
    """Return the seconds from a start to the last byte of the reply."""
    arguments = ("--state-dir", str(state)) if state else ()
    started = time.perf_counter()
    with fibserver(*arguments) as (port, _):
        answer = ask(port)
        seconds = time.perf_counter() - started
        if hashlib.sha256(answer).hexdigest() != right:
            raise click.ClickException("the answer is wrong")
    return seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(rounds: int) -> None:
    """Compare a cold start with one from a snapshot."""
    right = digest_of_first(N)
    with tempfile.TemporaryDirectory(prefix="bench-restart-") as directory:
        state = Path(directory)
        measure(state, right)  # saves at its end
        size = sum(path.stat().st_size for path in state.iterdir())
        cold, warm = [], []
        for _ in range(rounds):
            cold.append(measure(None, right))
            warm.append(measure(state, right))
    ratios = [first / second for first, second in zip(cold, warm, strict=True)]
    click.echo(f"First {N:,} as json; medians of {rounds} rounds; snapshot {size / 1e6:.0f} MB")
    click.echo(f"cold      {median(cold):.2f} s")
    click.echo(f"snapshot  {median(warm):.2f} s")
    click.echo(f"ratio     {median(ratios):.2f}")


if __name__ == "__main__":
    main()
