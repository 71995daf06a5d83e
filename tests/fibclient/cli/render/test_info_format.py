"""Formatting of INFO values."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.cli.render.info_format import format_value, json_value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("used_memory", "107429888", "107.4 MB"),
        ("maxmemory", "0", "0 B"),
        ("resident_bytes", "999", "999 B"),
        ("bytes", "2000000000", "2.0 GB"),
        ("maxclients", "10000", "10,000"),
        ("process_id", "54321", "54321"),
        ("tcp_port", "11235", "11235"),
        ("pid", "4000000", "4000000"),
        ("uptime_in_seconds", "7200", "2 h"),
        ("snapshot_age_seconds", "-1", "-1"),
        ("rdb_last_save_time", "0", "never"),
        ("usec_per_call", "31.25", "31.25"),
        ("worker_pids", "5508,5509", "5508,5509"),
        ("worker_pids", "5508", "5508"),
        ("redis_version", "7.0.15", "7.0.15"),
        ("role", "master", "master"),
        ("maxmemory_policy", "", ""),
        ("server_time_usec", "9" * 20, "99,999,999,999,999 s since 1970"),
        ("connected_clients", "9" * 5000, "9" * 5000),
    ],
)
def test_info_values_are_formatted(name: str, value: str, text: str) -> None:
    """Sizes, durations, counts and identifiers each have their format."""
    assert format_value(name, value) == text


def test_timestamps_are_local_time() -> None:
    """Timestamps are shown in local time."""
    moment = datetime(2024, 2, 29, 12, 30, 15)
    seconds = int(moment.timestamp())
    assert format_value("rdb_last_save_time", str(seconds)) == "2024-02-29 12:30:15"
    assert format_value("server_time_usec", f"{seconds}999999") == "2024-02-29 12:30:15"


@given(
    name=st.text() | st.sampled_from(["used_memory", "a_time_usec", "b_seconds"]), value=st.text()
)
def test_any_info_field_can_be_formatted(name: str, value: str) -> None:
    """Any name and value can be formatted."""
    assert format_value(name, value) is not None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("used_memory", "12", 12),
        ("change", "-3", -3),
        ("used_cpu_user", "0.50", 0.5),
        ("role", "master", "master"),
        ("redis_version", "7.10", "7.10"),
        ("redis_git_sha1", "00000000", "00000000"),
        ("hits", "9" * 5000, "9" * 5000),
        ("cmdstat_ping", "calls=3,usec_per_call=1.50", {"calls": 3, "usec_per_call": 1.5}),
        ("worker_pids", "12", [12]),
        ("worker_pids", "12,13", [12, 13]),
        ("worker_pids", "", []),
        ("executable", "/opt/a=b", "/opt/a=b"),
        ("empty", "", ""),
    ],
)
def test_values_for_json(name: str, value: str, expected: object) -> None:
    """Numbers are numbers, parts are objects, and versions and identifiers stay texts."""
    assert json_value(name, value) == expected
