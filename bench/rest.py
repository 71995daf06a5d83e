"""Benchmark of fibweb against nginx, granian, uvicorn, stock waitress, and Flask under gunicorn.

wrk requests the first 10, 100, 1,000 and 10,000 numbers over 16 and 64 connections. The requests
are all the same (*repeated*) or all different: in a parameter that fibweb ignores (*different*),
or in one that it reads, so that the application runs each time (*uncached*). The baselines: nginx,
which serves the same bytes as files, for web servers in C; granian with ready bytes and no
framework, for those in Rust; uvicorn with ready bytes, for the fastest servers in Python; stock
waitress, which fibweb's server is based on; and Flask with a list and jsonify, the usual way to
write such a service. Every server has one process; one case compares fibweb with two processes to
fibweb with one, and two compare requests of its own with repeated ones: the first ten numbers with
a parameter that grows, and single numbers that only fibserver has in memory.

Further measurements: memory and the latency of another client while 16 clients read 10,000 numbers
slowly, and ab with 100 connections.

A missed target is marked in the table; the exit code is 0 nevertheless.
"""

import json
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import click
import rest_servers
from checkouts import before_option
from load import ServerUnderTest, ab, measure_slow_readers, wrk
from servers import ROOT, fibserver
from side_by_side import Comparison, Measurement, machine, measure, print_table

from fibclient import FibClient

__all__ = ["main"]

COUNTS = (10, 100, 1000, 10_000)
CONNECTIONS = (16, 64)
LARGE = 10_000

RUN_SECONDS = 3.0
SLOW_SECONDS = 8.0
AB_REQUESTS = 10_000
QUICK_SHARE = 10

NGINX_TARGET = 1.0
GRANIAN_TARGETS = {10: 1.0, 100: 1.0, 1000: 1.2}
STOCK_TARGET = 4.0
UVICORN_TARGET = 1.0
FLASK_TARGETS = dict(zip(COUNTS, (15.0, 15.0, 30.0, 60.0), strict=True))

SLOW_GROWTH_MB = 8.0
SLOW_P50_MS = 1.0
SLOW_WORST_MS = 20.0

Servers = Mapping[str, ServerUnderTest]


def _cases(servers: Servers, seconds: float) -> Iterator[Comparison]:
    """Yield the cases: a request, two servers, and the target of their ratio.

    The fibweb of an earlier checkout is compared with as well if it is among the servers.
    """

    def case(
        other: str,
        n: int,
        connections: int,
        target: float | None,
        ours: str = "fibweb",
        kind: str = "",
    ) -> Comparison:
        name = f"{n} {kind}".strip()
        kind = kind or ("different" if other in ("stock", "uvicorn", "granian") else "repeated")

        def run(name: str) -> Measurement:
            return wrk(servers[name].port, n, connections, seconds, kind=kind)

        def run_other() -> Measurement:
            if other == "nginx" and n == LARGE:
                return max(run("nginx"), run("nginx without sendfile"))
            return run(other)

        return Comparison(
            f"{name} × {connections} / {other}"
            if ours == "fibweb"
            else f"{name} × {connections}, {ours}",
            "requests/s",
            target,
            partial(run, ours),
            run_other,
            partial(run, _before(ours)) if _before(ours) in servers else None,
        )

    for connections in CONNECTIONS:
        for n in COUNTS:
            yield case("nginx", n, connections, NGINX_TARGET)
            yield case("stock", n, connections, STOCK_TARGET if n < LARGE else None)
            yield case("granian", n, connections, GRANIAN_TARGETS.get(n))
            if n < LARGE:
                yield case("granian", n, connections, None, kind="uncached")
            yield case("uvicorn", n, connections, UVICORN_TARGET if n < LARGE else None)
            yield case("flask", n, connections, FLASK_TARGETS[n])
            yield case("fibweb", n, connections, None, "two processes")
        for kind in ("growing", "new"):
            yield _own_case(servers, kind, connections, seconds)


def _own_case(servers: Servers, kind: str, connections: int, seconds: float) -> Comparison:
    """Return the case that compares one kind of requests to fibweb with repeated ones."""

    def run(name: str, kind: str) -> Measurement:
        return wrk(servers[name].port, COUNTS[0], connections, seconds, kind=kind)

    before = _before("fibweb")
    return Comparison(
        f"{kind} × {connections} / repeated",
        "requests/s",
        None,
        partial(run, "fibweb", kind),
        partial(run, "fibweb", "repeated"),
        partial(run, before, kind) if before in servers else None,
    )


def _before(name: str) -> str:
    """Return the name of the same server of the earlier checkout."""
    return f"{name}, before"


def _slow(servers: Servers, only: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Measure slow readers of each server."""
    return {
        name: measure_slow_readers(server, LARGE, seconds)
        for name, server in servers.items()
        if re.search(only, f"slow {name}")
    }


def _ab(servers: Servers, only: str, requests: int) -> list[dict[str, Any]]:
    """Measure servers with ab."""
    return [
        {"server": name, "n": n, "keeps_alive": keeps_alive}
        | ab(servers[name].port, n, requests, keeps_alive=keeps_alive)
        for n in (100, 1000)
        for keeps_alive in (True, False)
        for name in ("fibweb", _before("fibweb"), "flask")
        if name in servers and re.search(only, f"ab {name}")
    ]


def _print_slow(slow: dict[str, dict[str, Any]]) -> None:
    click.echo(
        f"\nWhile 16 clients read {LARGE:,} numbers slowly; targets for fibweb: growth of memory "
        f"{SLOW_GROWTH_MB:g} MB,\nresponse time of a quick client {SLOW_P50_MS:g} ms (p50), "
        f"{SLOW_WORST_MS:g} ms (worst).\n"
    )
    click.echo(f"{'server':<24}{'growth MB':>10}{'p50 ms':>9}{'worst ms':>10}")
    for name, row in slow.items():
        growth_mb, p50, worst = row["growth_bytes"] / 1e6, row["p50_ms"], row["worst_ms"]
        is_met = growth_mb <= SLOW_GROWTH_MB and p50 < SLOW_P50_MS and worst < SLOW_WORST_MS
        mark = "  missed" if name == "fibweb" and not is_met else ""
        click.echo(f"{name:<24}{growth_mb:>10.1f}{p50:>9.2f}{worst:>10.1f}{mark}")


def _print_ab(rows: list[dict[str, Any]], requests: int) -> None:
    click.echo(f"\nab -c 100 -n {requests}\n")
    names = ("server", "n", "", "requests/s", "failed", "p99 ms", "worst ms")
    layout = "{:<16}{:>6}  {:<4}{:>12}{:>8}{:>8}{:>10}"
    click.echo(layout.format(*names))
    for row in rows:
        rate, failed, p99, worst = (row[name] for name in ("rate", "failed", "p99_ms", "worst_ms"))
        figures = (f"{rate:,.0f}", f"{failed:.0f}", f"{p99:.0f}", f"{worst:.0f}")
        option = "-k" if row["keeps_alive"] else ""
        click.echo(layout.format(row["server"], row["n"], option, *figures))


NEW_NUMBERS = 50_000
"""fibserver has as many in memory for the requests of single numbers."""


def _filled_fibserver(stack: ExitStack, checkout: Path = ROOT) -> int:
    """Start a fibserver with `NEW_NUMBERS` numbers in memory; return its port."""
    port, _ = stack.enter_context(fibserver(checkout=checkout))
    with FibClient(f"127.0.0.1:{port}", cache_bytes=0) as client:
        for _ in client.stream(0, NEW_NUMBERS, "json"):
            pass
    return port


def _start(stack: ExitStack, before: Path | None) -> dict[str, ServerUnderTest]:
    """Start all servers, and check their responses to all requests."""
    port = _filled_fibserver(stack)
    ours = stack.enter_context(rest_servers.fibweb(port))
    bodies = {n: rest_servers.get(ours.port, f"/fib/{n}") or b"" for n in COUNTS}
    servers = {
        "fibweb": ours,
        "two processes": stack.enter_context(rest_servers.fibweb(port, 2)),
        "nginx": stack.enter_context(rest_servers.nginx(bodies, sendfile=True)),
        "nginx without sendfile": stack.enter_context(rest_servers.nginx(bodies, sendfile=False)),
        "uvicorn": stack.enter_context(rest_servers.uvicorn()),
        "granian": stack.enter_context(rest_servers.granian()),
        "stock": stack.enter_context(rest_servers.stock()),
        "flask": stack.enter_context(rest_servers.flask()),
    }
    if before:
        port = _filled_fibserver(stack, before)
        for name, processes in (("fibweb", 1), ("two processes", 2)):
            fibweb = rest_servers.fibweb(port, processes, checkout=before)
            servers[_before(name)] = stack.enter_context(fibweb)
    expected = {n: json.loads(body) for n, body in bodies.items()}
    for server in servers.values():
        rest_servers.check(server, COUNTS, expected)
    return servers


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "report", type=click.File("w"), help="Write the raw figures to this file.")
@click.option("--only", metavar="REGEX", default="", help="Run the cases whose names match.")
@before_option("fibweb")
@click.option(
    "--quick", is_flag=True, help="Check that the benchmark works: one round, short runs."
)
def main(rounds: int, report: TextIO | None, only: str, before: Path | None, quick: bool) -> None:
    """Compare fibweb with other ways to serve the same numbers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up first
    rounds = 1 if quick else rounds
    share = QUICK_SHARE if quick else 1
    yardsticks = ("waitress", "falcon", "uvicorn", "granian", "gunicorn", "flask")
    facts = machine() | {name: version(name) for name in yardsticks}
    with ExitStack() as stack:
        servers = _start(stack, before)
        cases = [
            case for case in _cases(servers, RUN_SECONDS / share) if re.search(only, case.name)
        ]
        measure(cases, rounds, "bench-rest")
        slow = _slow(servers, only, SLOW_SECONDS / share)
        requests = AB_REQUESTS // share
        ab_rows = _ab(servers, only, requests)
    if not (cases or slow or ab_rows):
        raise click.BadParameter(f'no case matches "{only}"', param_hint="--only")
    rows = [case.summary() for case in cases]
    click.echo(", ".join(f"{name} {value}" for name, value in facts.items()))
    if rows:
        click.echo(
            f"Medians of {rounds} rounds; n × connections / the baseline. Against stock, "
            "uvicorn and granian every\nrequest is different, otherwise all are the same. Ratio: "
            "of the medians; by round: the median of the ratios\nof the rounds; before: the same "
            "for the earlier fibweb. The ratio must reach the target.\n"
        )
        print_table(rows, "fibweb", "other")
    if slow:
        _print_slow(slow)
    if ab_rows:
        _print_ab(ab_rows, requests)
    if report:
        figures = {"machine": facts, "rounds": rounds, "cases": rows, "slow": slow, "ab": ab_rows}
        json.dump(figures, report, indent=2)
        report.write("\n")


if __name__ == "__main__":
    main()
