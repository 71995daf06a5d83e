"""What several hosts carry, and what a request costs each program on its way.

The hosts here share the machine's cores with the load and with what stands in front of them, so
their requests a second say little about hosts with cores of their own. The processor time that
each program takes for a request says more: its inverse is what one core of it carries.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil
from hosts import Host
from load import DIFFERENT

from fibcommon.formats import FORMATS

__all__ = ["Carried", "Door", "as_json", "carried", "print_carried"]

CONNECTIONS = 32
SECONDS = 4
RUN_SECONDS = 120
"""Far above anything seen: reaching it is a failure, not a slow machine."""

REQUESTS = {10: 200_000, 1000: 80_000, 10_000: 1_000}
"""Of redis-benchmark, by N: some seconds each."""

UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}

PROGRAMS = ("nginx", "HAProxy", "fibweb", "fibserver")

Programs = Mapping[str, list["subprocess.Popen[bytes]"]]


class Door(NamedTuple):
    """Where the load goes.

    Attributes:
        name: what the table calls it.
        http: HOST:PORT.
        rpc: HOST:PORT; empty if there is none.
    """

    name: str
    http: str
    rpc: str = ""


class Carried(NamedTuple):
    """One row.

    Attributes:
        door: where the load went.
        request: its kind.
        n: how many numbers each asked for.
        requests_per_second: all in all.
        megabytes_per_second: of answers.
        costs: processor time of each program for a request, in microseconds.
    """

    door: str
    request: str
    n: int
    requests_per_second: float
    megabytes_per_second: float
    costs: dict[str, float]


class _Load(NamedTuple):
    requests: int
    requests_per_second: float
    megabytes_per_second: float


def carried(client: Host, doors: list[Door], programs: Programs) -> Iterator[Carried]:
    """Measure the hosts that there are now.

    Args:
        client: where the load runs.
        doors: each is measured.
        programs: the processes whose time counts, by the name of their program.
    """
    for door in doors:
        for n in REQUESTS:
            yield _measured(door, "HTTP, repeated", n, _wrk(client, door.http, n), programs)
        for n in (10, 1000):
            load = _wrk(client, door.http, n, are_different=True)
            yield _measured(door, "HTTP, different", n, load, programs)
        for n in REQUESTS if door.rpc else ():
            load = _redis_benchmark(client, door.rpc, n)
            yield _measured(door, "RESP", n, load, programs)


def _measured(
    door: Door, request: str, n: int, load: Iterator[_Load | None], programs: Programs
) -> Carried:
    next(load)  # it is warm, and about to begin
    before = _seconds(programs)
    done = next(load)
    assert done is not None
    after = _seconds(programs)
    costs = {name: (after[name] - before[name]) / done.requests * 1e6 for name in after}
    return Carried(door.name, request, n, *done[1:], costs)


def _seconds(programs: Programs) -> dict[str, float]:
    """Return the processor time that all processes of each program have taken."""
    return {name: sum(_seconds_of(child.pid) for child in programs[name]) for name in programs}


def _seconds_of(pid: int) -> float:
    main = psutil.Process(pid)
    times = [each.cpu_times() for each in (main, *main.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _wrk(
    client: Host, address: str, n: int, *, are_different: bool = False
) -> Iterator[_Load | None]:
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as folder:
        script = Path(folder, "different.lua")
        script.write_text(DIFFERENT % {"n": n, "spread": n // 10})
        url = f"http://{address}/fib/{n}"
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", *(["-s", str(script)] if are_different else [])]
        _run(client, *words, "-d1s", url)
        yield None
        text = _run(client, *words, f"-d{SECONDS}s", url)
    if "Non-2xx" in text or "Socket errors" in text:
        raise click.ClickException(f"not all requests were answered:\n{text}")
    count = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)(\w+) read", text)
    if count is None:
        raise click.ClickException(f"wrk says what we do not understand:\n{text}")
    seconds, size = float(count[2]), float(count[3]) * UNITS[count[4]]
    yield _Load(int(count[1]), int(count[1]) / seconds, size / seconds / 1e6)


def _redis_benchmark(client: Host, address: str, n: int) -> Iterator[_Load | None]:
    host, _, port = address.rpartition(":")
    words = ["redis-benchmark", "-h", host, "-p", port, "-c", str(CONNECTIONS), "-q"]
    asked = ["FIB.FIRST", str(n), "FORMAT", "json"]
    _run(client, *words, "-n", str(REQUESTS[n] // 4), *asked)
    yield None
    text = _run(client, *words, "-n", str(REQUESTS[n]), *asked)
    rate = re.search(r"([\d.]+) requests per second", text)
    if rate is None:
        raise click.ClickException(f"redis-benchmark says what we do not understand:\n{text}")
    size = FORMATS["json"].slice_size(0, n)
    yield _Load(REQUESTS[n], float(rate[1]), float(rate[1]) * size / 1e6)


def _run(client: Host, *words: str) -> str:
    return subprocess.run(
        client.command(*words), stdout=subprocess.PIPE, text=True, check=True, timeout=RUN_SECONDS
    ).stdout


def print_carried(rows: Mapping[str, list[Carried]]) -> None:
    """Print the table."""
    layout = "{:<13}{:<16}{:<16}{:>7}{:>12}{:>8}" + "{:>11}" * len(PROGRAMS)
    click.echo()
    click.echo(" " * 72 + "microseconds of a core for a request")
    click.echo(layout.format("hosts", "through", "request", "N", "requests/s", "MB/s", *PROGRAMS))
    for hosts, carried in rows.items():
        for row in carried:
            costs = (f"{row.costs[name]:.1f}" if name in row.costs else "" for name in PROGRAMS)
            rates = (f"{row.requests_per_second:,.0f}", f"{row.megabytes_per_second:,.0f}")
            click.echo(layout.format(hosts, row.door, row.request, row.n, *rates, *costs))


def as_json(rows: Mapping[str, list[Carried]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows as they are written to a report."""
    return {hosts: [row._asdict() for row in carried] for hosts, carried in rows.items()}
