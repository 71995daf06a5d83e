"""Throughput of several hosts, and the processor time of a request in each program on its path.

The hosts share the machine's cores with the load generator and the balancers, so their requests
per second do not predict those of hosts with cores of their own. The processor time per request
does: its inverse is the throughput of one core.
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
from load import wrk_script

from fibcommon.formats import FORMATS

__all__ = ["CapacityRow", "EntryPoint", "as_json", "measure_capacity", "print_capacity"]

CONNECTIONS = 32
SECONDS = 4
RUN_SECONDS = 120
"""Far above any measured time: reaching it is a failure, not a slow machine."""

REQUESTS = {10: 200_000, 1000: 80_000, 10_000: 1_000}
"""Requests of redis-benchmark by N: each run takes some seconds."""

UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}

PROGRAMS = ("nginx", "HAProxy", "fibweb", "fibserver")

Programs = Mapping[str, list["subprocess.Popen[bytes]"]]


class EntryPoint(NamedTuple):
    """Addresses that the load is sent to.

    Attributes:
        name: Name in the table.
        http: HOST:PORT for HTTP.
        rpc: HOST:PORT for RESP; empty: no RESP load.
    """

    name: str
    http: str
    rpc: str = ""


class CapacityRow(NamedTuple):
    """One row of the table.

    Attributes:
        entry_point: Name of the entry point.
        request: Kind of request.
        n: How many numbers each request asks for.
        requests_per_second: Rate over all connections.
        megabytes_per_second: Rate of received replies, in 10^6 bytes.
        costs: Processor time per request in microseconds, by program.
    """

    entry_point: str
    request: str
    n: int
    requests_per_second: float
    megabytes_per_second: float
    costs: dict[str, float]


class _Throughput(NamedTuple):
    requests: int
    requests_per_second: float
    megabytes_per_second: float


def measure_capacity(
    client: Host, entry_points: list[EntryPoint], programs: Programs
) -> Iterator[CapacityRow]:
    """Measure the throughput of the running hosts.

    Args:
        client: Host that generates the load.
        entry_points: Entry points to measure.
        programs: Processes whose processor time is measured, by program.
    """
    for entry_point in entry_points:
        for n in REQUESTS:
            yield _measure(
                entry_point, "HTTP, repeated", n, _wrk(client, entry_point.http, n), programs
            )
        for n in (10, 1000):
            load = _wrk(client, entry_point.http, n, are_different=True)
            yield _measure(entry_point, "HTTP, different", n, load, programs)
        for n in REQUESTS if entry_point.rpc else ():
            load = _redis_benchmark(client, entry_point.rpc, n)
            yield _measure(entry_point, "RESP", n, load, programs)


def _measure(
    entry_point: EntryPoint,
    request: str,
    n: int,
    load: Iterator[_Throughput | None],
    programs: Programs,
) -> CapacityRow:
    next(load)  # warms the servers up
    before = _seconds(programs)
    result = next(load)
    assert result is not None
    after = _seconds(programs)
    costs = {name: (after[name] - before[name]) / result.requests * 1e6 for name in after}
    return CapacityRow(entry_point.name, request, n, *result[1:], costs)


def _seconds(programs: Programs) -> dict[str, float]:
    """Return the processor time in seconds of all processes of each program."""
    return {name: sum(_seconds_of(child.pid) for child in programs[name]) for name in programs}


def _seconds_of(pid: int) -> float:
    main = psutil.Process(pid)
    times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
    return float(sum(used.user + used.system for used in times))


def _wrk(
    client: Host, address: str, n: int, *, are_different: bool = False
) -> Iterator[_Throughput | None]:
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as folder:
        script = Path(folder, "different.lua")
        script.write_text(wrk_script("different", n))
        url = f"http://{address}/fib/{n}"
        args = ["wrk", "-t1", f"-c{CONNECTIONS}", *(["-s", str(script)] if are_different else [])]
        _run(client, *args, "-d1s", url)
        yield None
        text = _run(client, *args, f"-d{SECONDS}s", url)
    if "Non-2xx" in text or "Socket errors" in text:
        raise click.ClickException(f"wrk reports failed requests:\n{text}")
    count = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)(\w+) read", text)
    if count is None:
        raise click.ClickException(f"cannot parse the output of wrk:\n{text}")
    seconds, size = float(count[2]), float(count[3]) * UNITS[count[4]]
    yield _Throughput(int(count[1]), int(count[1]) / seconds, size / seconds / 1e6)


def _redis_benchmark(client: Host, address: str, n: int) -> Iterator[_Throughput | None]:
    host, _, port = address.rpartition(":")
    args = ["redis-benchmark", "-h", host, "-p", port, "-c", str(CONNECTIONS), "-q"]
    request = ["FIB.FIRST", str(n), "FORMAT", "json"]
    _run(client, *args, "-n", str(REQUESTS[n] // 4), *request)
    yield None
    text = _run(client, *args, "-n", str(REQUESTS[n]), *request)
    rate = re.search(r"([\d.]+) requests per second", text)
    if rate is None:
        raise click.ClickException(f"cannot parse the output of redis-benchmark:\n{text}")
    size = FORMATS["json"].slice_size(0, n)
    yield _Throughput(REQUESTS[n], float(rate[1]), float(rate[1]) * size / 1e6)


def _run(client: Host, *args: str) -> str:
    return subprocess.run(
        client.command(*args), stdout=subprocess.PIPE, text=True, check=True, timeout=RUN_SECONDS
    ).stdout


def print_capacity(rows: Mapping[str, list[CapacityRow]]) -> None:
    """Print the table."""
    layout = "{:<13}{:<16}{:<16}{:>7}{:>12}{:>8}" + "{:>11}" * len(PROGRAMS)
    click.echo()
    click.echo(" " * 72 + "processor time per request, µs")
    click.echo(layout.format("hosts", "through", "request", "N", "requests/s", "MB/s", *PROGRAMS))
    for hosts, measured in rows.items():
        for row in measured:
            costs = (f"{row.costs[name]:.1f}" if name in row.costs else "" for name in PROGRAMS)
            rates = (f"{row.requests_per_second:,.0f}", f"{row.megabytes_per_second:,.0f}")
            click.echo(layout.format(hosts, row.entry_point, row.request, row.n, *rates, *costs))


def as_json(rows: Mapping[str, list[CapacityRow]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows for a JSON report."""
    return {hosts: [row._asdict() for row in measured] for hosts, measured in rows.items()}
