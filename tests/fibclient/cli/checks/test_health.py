"""Findings about the health of a server."""

import pytest

from fibclient.cli.checks.findings import Level
from fibclient.cli.checks.health import Sample, check_health, check_samples
from fibclient.cli.measuring.server_sample import InfoFields

MIB = 1024 * 1024
HEALTHY = {
    "uptime_in_seconds": 600,
    "workers": 2,
    "workers_busy": 1,
    "worker_deaths": 0,
    "blocked_clients": 0,
    "used_memory": 100 * MIB,
    "maxmemory": 500 * MIB,
    "memory_limit": 500 * MIB,
    "used_memory_rss": 200 * MIB,
    "shared_memory_available": 900 * MIB,
    "evicted_keys": 0,
    "blocks_computed": 10,
    "connected_clients": 5,
    "maxclients": 100,
    "rejected_connections": 0,
    "total_commands_processed": 1000,
    "errorstat_BUSY": "count=10",
    "snapshot_enabled": 1,
    "snapshot_blocks": 7,
    "snapshot_bytes": 7 * MIB,
    "rdb_last_bgsave_status": "ok",
}
CHECKS = ["workers", "memory", "/dev/shm", "clients", "errors", "snapshot"]


def info(**changes: object) -> InfoFields:
    """Return the INFO fields of a healthy server with some changes."""
    return InfoFields((name, str(value)) for name, value in (HEALTHY | changes).items())


def test_checks_of_healthy_server_are_ok() -> None:
    """Every check of a healthy server is OK and gives no advice."""
    findings = check_health(info())
    assert [finding.check for finding in findings] == CHECKS
    assert {finding.level for finding in findings} == {Level.OK}
    assert not any(finding.hint for finding in findings)


@pytest.mark.parametrize(
    ("check", "changes", "level", "text"),
    [
        ("workers", {"workers": 0}, Level.PROBLEM, "no worker is alive"),
        ("workers", {"worker_deaths": 3}, Level.WARNING, "3 died in 10 min"),
        ("workers", {"workers_busy": 2}, Level.OK, "2 busy"),
        (
            "workers",
            {"workers_busy": 2, "blocked_clients": 4},
            Level.WARNING,
            "4 clients wait for a worker",
        ),
        ("workers", {"workers_busy": 2, "blocked_clients": 1}, Level.WARNING, "1 client waits"),
        ("memory", {"evicted_keys": 5}, Level.OK, "104.9 MB of memory_limit, 524.3 MB"),
        ("memory", {"evicted_keys": 6}, Level.WARNING, "6 of 10 computed blocks were evicted"),
        (
            "/dev/shm",
            {"shared_memory_available": 300 * MIB},
            Level.WARNING,
            "314.6 MB left, but numbers may need 419.4 MB more",
        ),
        ("/dev/shm", {"shared_memory_available": 8 * MIB}, Level.PROBLEM, "8.4 MB left"),
        (
            "/dev/shm",
            {"used_memory": 500 * MIB, "shared_memory_available": 8 * MIB},
            Level.PROBLEM,
            "8.4 MB left, which may be too little",
        ),
        (
            "/dev/shm",
            {"used_memory": 500 * MIB, "shared_memory_available": 20 * MIB},
            Level.OK,
            "21.0 MB left",
        ),
        (
            "/dev/shm",
            {"memory_limit": 800 * MIB},
            Level.WARNING,
            "too small for memory_limit, 838.9 MB, so the effective limit is 524.3 MB",
        ),
        ("clients", {"connected_clients": 79}, Level.OK, "79 of at most 100"),
        ("clients", {"connected_clients": 80}, Level.WARNING, "80 of at most 100"),
        ("clients", {"rejected_connections": 2}, Level.WARNING, "2 were rejected"),
        ("errors", {"errorstat_BUSY": "count=11"}, Level.WARNING, "11 of 1,000"),
        ("errors", {"errorstat_NOSPACE": "count=1"}, Level.WARNING, "(NOSPACE)"),
        ("errors", {"errorstat_ERR": "count=900"}, Level.OK, "10 of 1,000"),
        ("snapshot", {"snapshot_enabled": 0}, Level.OK, "state_dir is not set"),
        ("snapshot", {"snapshot_blocks": 8}, Level.OK, "8 blocks saved, 7.3 MB"),
        (
            "snapshot",
            {"rdb_last_bgsave_status": "err"},
            Level.PROBLEM,
            "the last save failed; 7 blocks saved before",
        ),
    ],
)
def test_unhealthy_value_is_reported(
    check: str, changes: dict[str, object], level: Level, text: str
) -> None:
    """Only the check of an unhealthy value reports it."""
    findings = check_health(info(**changes))
    assert [finding.check for finding in findings] == CHECKS
    for finding in findings:
        assert finding.level is (level if finding.check == check else Level.OK)
        assert bool(finding.hint) == (finding.level is not Level.OK)
        assert finding.check != check or text in finding.text


def test_check_reports_several_values() -> None:
    """A check reports each of its unhealthy values."""
    findings = check_health(
        info(
            worker_deaths=1,
            workers_busy=2,
            blocked_clients=1,
            errorstat_BUSY="count=100",
            errorstat_NOSPACE="count=1",
        )
    )
    warnings = [finding.check for finding in findings if finding.level is Level.WARNING]
    assert warnings == ["workers", "workers", "errors", "errors"]


def test_missing_fields_are_not_judged() -> None:
    """Fields that a server of another version does not report are not judged."""
    assert check_health(InfoFields()) == []
    fewer = info()
    del fewer["shared_memory_available"]
    assert [finding.check for finding in check_health(fewer)] == [
        check for check in CHECKS if check != "/dev/shm"
    ]


CORRECT = Sample("text", 0, 100)
TOO_LARGE = Sample("text", 10**6, 10**6 + 1, "LIMIT", "LIMIT too large")


@pytest.mark.parametrize(
    ("samples", "level", "text"),
    [
        ([CORRECT, Sample("json", 5, 8)], Level.OK, "103 are correct, up to F(99); as text, json"),
        ([CORRECT, TOO_LARGE], Level.OK, "100 are correct, up to F(99)"),
        ([TOO_LARGE], Level.WARNING, "beyond the server's limits"),
        ([CORRECT, Sample("csv", 5, 8, "wrong", "F(6) is wrong: …")], Level.PROBLEM, "F(6) is"),
        ([Sample("csv", 5, 8, "silent", "nothing came")], Level.PROBLEM, "csv, F(5) to F(7): no"),
        ([Sample("csv", 5, 8, "BUSY", "BUSY later")], Level.WARNING, "BUSY later"),
        ([Sample("csv", 5, 8, "NOSPACE", "NOSPACE full")], Level.PROBLEM, "NOSPACE full"),
        ([Sample("csv", 5, 8, "ERR", "ERR worker died")], Level.PROBLEM, "ERR worker died"),
    ],
)
def test_wrong_sample_is_a_problem(samples: list[Sample], level: Level, text: str) -> None:
    """Wrong or missing numbers are a problem; numbers beyond the limits are not."""
    finding = check_samples(samples)
    assert finding.level is level
    assert text in finding.text
    assert bool(finding.hint) == (level is not Level.OK)
