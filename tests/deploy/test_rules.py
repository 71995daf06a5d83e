"""The alerting rules in promtool: each alert fires in its cases, and in no others."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.support.servers import DEADLINE_SECONDS

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted(PROMETHEUS.glob("fib-*.yml"))

PROMTOOL_SECONDS = 240
"""It takes ten by itself, and the tests beside it take the cores."""

MINUTES = 420
"""Length of every input series, one sample a minute: the longest window and some."""

SHORT_MINUTES = 110
"""Cases that are checked before this minute share a simulation that ends there."""

SERVER = 'job="fibserver",host="h",instance="s:1"'
WEB = 'job="fibweb",host="h",instance="w:1"'


def counter(each_minute: int) -> str:
    """Return increasing values in promtool's notation."""
    return f"0+{each_minute}x{MINUTES}"


def steady(value: float) -> str:
    """Return constant values in promtool's notation."""
    return f"{value}x{MINUTES}"


def seconds(service: str, extra: str, below: Mapping[str, int]) -> dict[str, str]:
    """Return a histogram: requests per minute up to each bound."""
    name = f"{service}_request_duration_seconds_bucket"
    return {f'{name}{{{extra},le="{bound}"}}': counter(count) for bound, count in below.items()}


OFTEN_EMPTY = " ".join(["3x8 0"] * (MINUTES // 10))
"""Values of a queue that is empty once in ten minutes."""

QUICK = {"0.001": 590, "1.0": 600, "10.0": 600, "+Inf": 600}
SLOW = {"0.001": 10, "1.0": 100, "10.0": 600, "+Inf": 600}

HEALTHY = {
    f"up{{{SERVER}}}": steady(1),
    f"up{{{WEB}}}": steady(1),
    f'fibserver_requests_total{{{SERVER},command="fib.first",code="OK"}}': counter(600),
    # What clients do wrong is no failure of ours.
    f'fibserver_requests_total{{{SERVER},command="fib.first",code="LIMIT"}}': counter(300),
    f'fibweb_requests_total{{{WEB},route="/fib/{{n}}",code="200"}}': counter(600),
    f'fibweb_requests_total{{{WEB},route="/fib/{{n}}",code="400"}}': counter(300),
    **seconds("fibserver", f'{SERVER},command="fib.first"', QUICK),
    **seconds("fibweb", f'{WEB},handling="inline"', QUICK),
    f"fibserver_start_time_seconds{{{SERVER}}}": steady(1000),
    f"fibserver_worker_restarts_total{{{SERVER}}}": f"0x40 1x{MINUTES - 40}",
    f"fibserver_workers{{{SERVER}}}": steady(2),
    f"fibserver_workers_busy{{{SERVER}}}": steady(2),
    f"fibserver_blocks_failed_total{{{SERVER}}}": steady(0),
    f"fibserver_shared_memory_available_bytes{{{SERVER}}}": steady(9e8),
    f"fibserver_shared_memory_bytes{{{SERVER}}}": steady(1e8),
    f"fibserver_connections{{{SERVER}}}": steady(10),
    f"fibserver_connections_max{{{SERVER}}}": steady(100),
    f"fibserver_connections_waiting{{{SERVER}}}": steady(3),
    # Queues are empty time and again; clients that are idle or slow are evicted for others.
    f'fibserver_queued_replies{{{SERVER},cost="cheap"}}': OFTEN_EMPTY,
    f'fibserver_queued_replies{{{SERVER},cost="expensive"}}': OFTEN_EMPTY,
    f'fibserver_clients_evicted_total{{{SERVER},reason="idle"}}': counter(20),
    f'fibserver_clients_evicted_total{{{SERVER},reason="slow_reader"}}': counter(20),
    f'fibserver_clients_evicted_total{{{SERVER},reason="output_memory"}}': steady(0),
    f"fibserver_snapshot_failing{{{SERVER}}}": steady(0),
    f"fibserver_snapshot_age_seconds{{{SERVER}}}": "7200+60x420",  # nothing new to save
    f"fibserver_snapshot_unsaved_blocks{{{SERVER}}}": steady(0),
    f"fibweb_processes{{{WEB}}}": steady(2),
    f'fibweb_server_up{{{WEB},server="a"}}': steady(2),
    f'fibweb_server_up{{{WEB},server="b"}}': steady(2),
    f"fibweb_queue_depth{{{WEB}}}": OFTEN_EMPTY,
    f'fibweb_rejections_total{{{WEB},reason="late"}}': counter(3),
    f'fibweb_rejections_total{{{WEB},reason="connections"}}': counter(3),
    f'fibweb_connections_cut_off_total{{{WEB},reason="idle"}}': counter(20),
    f'fibweb_connections_cut_off_total{{{WEB},reason="slow"}}': counter(20),
    f'fibweb_connections_cut_off_total{{{WEB},reason="memory"}}': steady(0),
    f"fibweb_server_calls_waiting{{{WEB}}}": steady(0),
    f"fibweb_process_cpu_seconds_total{{{WEB}}}": counter(10),
}


def failures(service: str, code: str, ratio: float) -> dict[str, str]:
    """Return counters with a share of failed requests."""
    labels = SERVER if service == "fibserver" else WEB
    kind = 'command="fib.range"' if service == "fibserver" else 'route="/fib"'
    return {f'{service}_requests_total{{{labels},{kind},code="{code}"}}': f"0+{900 * ratio}x420"}


SOON = "0x70 15+15x40"
"""Values of a counter that grows from the seventieth minute on: more than 1 % of the requests."""

STORM = dict.fromkeys(
    (
        f'fibserver_requests_total{{{SERVER},command="fib.range",code="BUSY"}}',
        f'fibserver_clients_evicted_total{{{SERVER},reason="output_memory"}}',
        f'fibweb_requests_total{{{WEB},route="/fib",code="503"}}',
        f'fibweb_rejections_total{{{WEB},reason="full"}}',
        f'fibweb_rejections_total{{{WEB},reason="connections"}}',
        f'fibweb_connections_cut_off_total{{{WEB},reason="memory"}}',
    ),
    "0x70 600x40",
)
"""A minute in which two in five requests are rejected; it takes no great part of an hour's."""

Case = tuple[str, dict[str, str], int, set[str]]
"""A name, the series that are not healthy, the minute of the check, and the alerts then."""

CASES: list[Case] = [
    ("all is well", {}, 400, set()),
    (
        "an hour without anybody",
        {name: steady(1) for name in HEALTHY if "_total" in name},
        100,
        set(),
    ),
    (
        "fibserver is gone",
        {name: "1x60 stale" for name in HEALTHY if SERVER in name and "requests" not in name}
        | {f"up{{{SERVER}}}": "1x60 0x40"}
        | {name: "0x60 stale" for name in HEALTHY if "queued" in name},
        62,
        {"FibserverDown"},
    ),
    ("a scrape is lost", {f"up{{{SERVER}}}": "1x60 0 1x40"}, 61, set()),
    ("fibweb is gone", {f"up{{{WEB}}}": "1x60 0x40"}, 62, {"FibwebDown"}),
    (
        "nobody watches",
        {f"up{{{SERVER}}}": "1x60 stale", f"up{{{WEB}}}": "1x60 stale"},
        100,
        {"FibTargetMissing"},
    ),
    (
        "restarts",
        {f"fibserver_start_time_seconds{{{SERVER}}}": "1000x95 2000 3000 4000x20"},
        100,
        {"FibserverRestarting"},
    ),
    ("two restarts", {f"fibserver_start_time_seconds{{{SERVER}}}": "1x95 2 3x20"}, 100, set()),
    (
        "restarts of fibweb",
        {f"fibweb_process_cpu_seconds_total{{{WEB}}}": "100x95 1 2 1 2 1 2x20"},
        102,
        {"FibwebRestarting"},
    ),
    (
        "workers die",
        {f"fibserver_worker_restarts_total{{{SERVER}}}": "0x95 2 4 6x20"},
        100,
        {"FibserverWorkersCrashing"},
    ),
    (
        "no workers",
        {
            f"fibserver_workers{{{SERVER}}}": "2x95 0x20",
            f"fibserver_workers_busy{{{SERVER}}}": steady(0),
        },
        98,
        {"FibserverWithoutWorkers"},
    ),
    (
        "2 % fail",
        failures("fibserver", "BUSY", 0.02),
        100,
        {"FibserverErrorsFast", "FibserverErrorsSlow", "FibserverOverloaded"},
    ),
    ("0.7 % fail", failures("fibserver", "NOSPACE", 0.007), 400, {"FibserverErrorsSlow"}),
    ("0.05 % fail", failures("fibserver", "BUSY", 0.0005), 400, set()),
    (
        "2 % fail over HTTP",
        failures("fibweb", "503", 0.02),
        100,
        {"FibwebErrorsFast", "FibwebErrorsSlow"},
    ),
    ("0.7 % fail over HTTP", failures("fibweb", "500", 0.007), 400, {"FibwebErrorsSlow"}),
    (
        "load balancers are told that it is not well",
        {
            f'fibserver_requests_total{{{SERVER},command="ping",code="BUSY"}}': counter(900),
            f'fibweb_requests_total{{{WEB},route="/readyz",code="503"}}': counter(900),
        },
        100,
        set(),
    ),
    (
        "load balancers are told that all is well, and users are not served",
        {
            f'fibserver_requests_total{{{SERVER},command="ping",code="OK"}}': counter(90_000),
            f'fibweb_requests_total{{{WEB},route="/healthz",code="200"}}': counter(90_000),
        }
        | failures("fibserver", "BUSY", 0.02)
        | failures("fibweb", "503", 0.02),
        100,
        {
            f"{service}Errors{read_rate}"
            for service in ("Fibserver", "Fibweb")
            for read_rate in ("Fast", "Slow")
        }
        | {"FibserverOverloaded"},
    ),
    (
        "a block is given up",
        {f"fibserver_blocks_failed_total{{{SERVER}}}": "0x95 1x20"},
        97,
        {"FibserverBlocksFailing"},
    ),
    ("slow", seconds("fibserver", f'{SERVER},command="fib.first"', SLOW), 100, {"FibserverSlow"}),
    ("slow over HTTP", seconds("fibweb", f'{WEB},handling="inline"', SLOW), 100, {"FibwebSlow"}),
    (
        "one fibserver is not used",
        {f'fibweb_server_up{{{WEB},server="b"}}': "2x95 0x20"},
        98,
        {"FibwebServerMarkedDown"},
    ),
    (
        "no fibserver is used",
        {f'fibweb_server_up{{{WEB},server="{name}"}}': "2x95 0x20" for name in "ab"},
        98,
        {"FibwebServerMarkedDown", "FibwebWithoutServer"},
    ),
    (
        "/dev/shm is nearly full",
        {f"fibserver_shared_memory_available_bytes{{{SERVER}}}": "9e8x80 5e6x40"},
        90,
        {"FibserverSharedMemoryNearlyFull"},
    ),
    (
        "more to do than workers",
        {f"fibserver_connections_waiting{{{SERVER}}}": "3x80 50x40"},
        90,
        {"FibserverQueueSaturated"},
    ),
    (
        "nearly too many clients",
        {f"fibserver_connections{{{SERVER}}}": "10x80 95x40"},
        90,
        {"FibserverConnectionsNearlyFull"},
    ),
    (
        "requests queue for threads",
        {f"fibweb_queue_depth{{{WEB}}}": "0x80 20x40"},
        90,
        {"FibwebQueueSaturated"},
    ),
    (
        "a queue in fibserver that is never empty",
        {f'fibserver_queued_replies{{{SERVER},cost="expensive"}}': "0x60 1x40"},
        80,
        {"FibserverQueueSaturated"},
    ),
    (
        "a queue in fibweb that is never empty",
        {f"fibweb_queue_depth{{{WEB}}}": "0x60 1x40"},
        80,
        {"FibwebQueueSaturated"},
    ),
    (
        "queues for ten minutes",
        {
            f'fibserver_queued_replies{{{SERVER},cost="expensive"}}': "0x69 1x40",
            f"fibweb_queue_depth{{{WEB}}}": "0x69 1x40",
        },
        80,
        set(),
    ),
    (
        "fibweb rejects requests",
        {
            f'fibweb_rejections_total{{{WEB},reason="late"}}': SOON,
            f'fibweb_requests_total{{{WEB},route="/fib",code="503"}}': SOON,
        },
        80,
        {"FibwebOverloaded"},
    ),
    (
        "fibweb rejects connections, and there are no other requests",
        {name: "_x420" for name in HEALTHY if name.startswith("fibweb_requests_total")}
        | {f'fibweb_rejections_total{{{WEB},reason="connections"}}': SOON},
        80,
        {"FibwebOverloaded"},
    ),
    (
        "fibserver rejects requests",
        {f'fibserver_requests_total{{{SERVER},command="fib.range",code="BUSY"}}': SOON},
        80,
        {"FibserverOverloaded"},
    ),
    (
        "fibweb has no memory for responses",
        {f'fibweb_connections_cut_off_total{{{WEB},reason="memory"}}': SOON},
        80,
        {"FibwebOutputMemoryFull"},
    ),
    (
        "fibserver has no memory for replies",
        {f'fibserver_clients_evicted_total{{{SERVER},reason="output_memory"}}': SOON},
        80,
        {"FibserverOutputMemoryFull"},
    ),
    ("a minute after a storm of seconds", STORM, 71, set()),
    ("six minutes after a storm of seconds", STORM, 76, set()),
    (
        "the disk says no",
        {f"fibserver_snapshot_failing{{{SERVER}}}": "0x80 1x40"},
        90,
        {"FibserverSnapshotFailing"},
    ),
    (
        "nothing has been saved",
        {f"fibserver_snapshot_unsaved_blocks{{{SERVER}}}": "0x30 5x90"},
        100,
        {"FibserverSnapshotStale"},
    ),
    (
        "nothing has ever been saved",
        {
            f"fibserver_snapshot_unsaved_blocks{{{SERVER}}}": "0x30 5x90",
            f"fibserver_snapshot_age_seconds{{{SERVER}}}": "_x420",
        },
        100,
        {"FibserverSnapshotStale"},
    ),
    (
        "much is to be saved, and is",
        {
            f"fibserver_snapshot_unsaved_blocks{{{SERVER}}}": steady(5),
            f"fibserver_snapshot_age_seconds{{{SERVER}}}": steady(1),
        },
        100,
        set(),
    ),
]


def promtool(path: str, *arguments: str) -> str:
    """Run promtool, and return its output; fail if it reports an error."""
    done = subprocess.run(
        [path, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_prometheus_accepts_the_files(program: Callable[[str], str]) -> None:
    """Prometheus and Alertmanager accept the files."""
    said = promtool(program("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert f"{len(RULES)} rule files found" in said
    path = str(PROMETHEUS / "alertmanager.yml")
    subprocess.run([program("amtool"), "check-config", path], check=True, timeout=30)


def on_host(series: str, host: str) -> str:
    """Return a series with the label of another host."""
    return series.replace('host="h",instance="', f'host="{host}",instance="{host}/')


def simulation(cases: Iterable[Case]) -> dict[str, object]:
    """Return a promtool test in which each case is on its own host, named after it.

    promtool evaluates every rule at every minute: many hosts cost little more than one.
    """
    series: dict[str, str] = {}
    checks = []
    for name, changes, minute, firing in cases:
        series |= {on_host(each, name): values for each, values in (HEALTHY | changes).items()}
        hosts = [f'ALERTS{{alertstate="firing",host="{host}"}}' for host in (name, "")]
        check = {
            "expr": f"group by (alertname) ({' or '.join(hosts)})",
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)
            ],
        }
        checks.append(check)
    inputs = [{"series": each, "values": values} for each, values in series.items()]
    return {"interval": "1m", "input_series": inputs, "promql_expr_test": checks}


def test_every_alert(program: Callable[[str], str], tmp_path: Path) -> None:
    """In each case exactly the expected alerts fire."""
    groups: dict[tuple[bool, bool], list[Case]] = {}
    for case in CASES:
        _, _, minute, firing = case
        # A target is missing only if no host has it: such a case cannot share a simulation.
        groups.setdefault((minute < SHORT_MINUTES, "FibTargetMissing" in firing), []).append(case)
    path = tmp_path / "rules.json"
    tests = list(map(simulation, groups.values()))
    path.write_text(json.dumps({"rule_files": list(map(str, RULES)), "tests": tests}))
    promtool(program("promtool"), "test", "rules", str(path))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("page", "pager"), ("ticket", "tickets"), ("", "tickets")]
)
def test_alerts_are_routed_by_severity(
    program: Callable[[str], str], severity: str, receiver: str
) -> None:
    """Critical alerts are routed to the pager, all others to the tickets."""
    command = [program("amtool"), "config", "routes", "test", f"severity={severity}"]
    command += ["--config.file", str(PROMETHEUS / "alertmanager.yml")]
    said = subprocess.check_output(command, text=True, timeout=DEADLINE_SECONDS)
    assert said.strip() == receiver


def test_every_alert_has_a_case() -> None:
    """Each alert has a case."""
    text = (PROMETHEUS / "fib-alerts.yml").read_text()
    alerts = {line.split()[-1] for line in text.splitlines() if "- alert:" in line}
    assert len(alerts) > 15
    assert set[str]().union(*(firing for *_, firing in CASES)) == alerts


@pytest.mark.parametrize("name", ["fib-alerts.yml", "fib-recording.yml"])
def test_rules_are_checked(program: Callable[[str], str], name: str) -> None:
    """promtool finds neither errors nor duplicates in the rules."""
    said = promtool(program("promtool"), "check", "rules", "--lint=all", str(PROMETHEUS / name))
    assert "SUCCESS" in said
