"""Findings about the connection to a server."""

import errno
import os

import pytest

from fibclient.cli.checks.findings import (
    Finding,
    Level,
    check_connect,
    check_first_reply,
    check_latency,
    check_name,
    check_password,
    check_version,
)
from fibcommon.addresses import Address, ResolvedAddress

LOCAL = ResolvedAddress(2, ("127.0.0.1", 11235), Address("localhost", 11235))
LOCAL_6 = ResolvedAddress(10, ("::1", 11235, 0, 0), Address("localhost", 11235))
REMOTE = ResolvedAddress(2, ("192.0.2.7", 11235), Address("fib.example", 11235))
SCOPED = ResolvedAddress(10, ("fe80::1%eth0", 11235, 0, 2), Address("fib.example", 11235))
UNIX = ResolvedAddress(1, "/run/fib.sock", Address(path="/run/fib.sock"))


def assert_sound(finding: Finding) -> None:
    """Check that a finding gives advice if and only if something is wrong."""
    assert bool(finding.hint) == (finding.level is not Level.OK)
    assert finding.text
    assert not finding.is_unreachable or finding.level is Level.PROBLEM


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        ([LOCAL], "127.0.0.1 (IPv4)"),
        ([LOCAL_6, LOCAL], "::1 (IPv6), 127.0.0.1 (IPv4)"),
        ([UNIX], "/run/fib.sock (Unix socket)"),
    ],
)
def test_finding_lists_endpoints_of_name(targets: list[ResolvedAddress], text: str) -> None:
    """The finding lists all endpoints of a name with their address families."""
    assert check_name(targets, "") == Finding("name", Level.OK, text)


def test_unknown_name_is_a_problem() -> None:
    """A name that cannot be resolved is a problem."""
    finding = check_name([], "cannot resolve x:1: Name or service not known")
    assert (finding.level, finding.is_unreachable) == (Level.PROBLEM, True)
    assert_sound(finding)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ECONNREFUSED, "fibserver --listen fib.example:11235"),
        (errno.ENOENT, "path of its socket"),
        (errno.EACCES, "group"),
        (errno.EPERM, "firewall on this machine"),
        (errno.ENETUNREACH, "ip route"),
        (errno.EHOSTUNREACH, "ip neigh"),
        (errno.ETIMEDOUT, "drops packets"),
        (errno.EAGAIN, "restart it"),
        (errno.EIO, "check whether the server runs"),
    ],
)
def test_connection_error_has_advice(number: int, hint: str) -> None:
    """Each error has its own advice; it is a warning if another endpoint is reachable."""
    error = OSError(number, os.strerror(number))
    finding = check_connect(REMOTE, error, is_other_reached=False)
    assert (finding.level, finding.is_unreachable) == (Level.PROBLEM, True)
    assert os.strerror(number) in finding.text
    assert hint in finding.hint
    assert_sound(finding)
    other = check_connect(REMOTE, error, is_other_reached=True)
    assert (other.level, other.is_unreachable) == (Level.WARNING, False)
    assert_sound(other)


def test_timeout_error_counts_as_etimedout() -> None:
    """Python's TimeoutError, which has no errno, counts as ETIMEDOUT."""
    finding = check_connect(REMOTE, TimeoutError("timed out"), is_other_reached=False)
    assert "timed out" in finding.text
    assert "drops packets" in finding.hint


def test_connection_is_ok() -> None:
    """A connection is OK however long it took."""
    finding = check_connect(REMOTE, 1.5, is_other_reached=True)
    assert finding == Finding("connect", Level.OK, "took 1,500 ms")


@pytest.mark.parametrize(
    ("reply", "text", "is_unreachable"),
    [
        (None, "sends nothing", True),
        (b"", "closes the connection", True),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            "web server: fibserver's default port is 11235",
            False,
        ),
        (b"<!DOCTYPE HTML>\n<html", "a web server", False),
        (b"\x15\x03\x01\0\x02\x02\x46", "a TLS server: fibserver's default port is 11235", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH", False),
        (b"220 mail.example ESMTP\r\n", "mail", False),
        (b"-ERR max number of clients reached\r\n", "reached max_clients", False),
        (b"-DENIED protected mode\r\n", "rejects PING: DENIED protected mode", False),
        (b"+PONGPONG\r\n", "is not a reply to PING", False),
        (b"+PON", "is not a reply to PING", False),
        (b"\xff\xfe\0", "is not a reply to PING", False),
    ],
)
def test_peer_without_available_fibserver_is_identified(
    reply: bytes | None, text: str, is_unreachable: bool
) -> None:
    """Peers that are not available fibservers are identified."""
    finding = check_first_reply(reply)
    assert (finding.level, finding.is_unreachable) == (Level.PROBLEM, is_unreachable)
    assert text in finding.text
    assert_sound(finding)


@pytest.mark.parametrize("reply", [b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n"])
def test_available_server_is_found(reply: bytes) -> None:
    """A server may reply, or require a password first."""
    assert check_first_reply(reply).level is Level.OK


@pytest.mark.parametrize(
    ("is_needed", "is_given", "error", "level", "text"),
    [
        (False, False, "", Level.OK, "not required"),
        (True, True, "", Level.OK, "accepted"),
        (False, True, "", Level.OK, "accepted"),
        (True, False, "", Level.PROBLEM, "required, but not given"),
        (True, True, "WRONGPASS no", Level.PROBLEM, "rejected: WRONGPASS no"),
        (False, True, "ERR none configured", Level.PROBLEM, "the server has none"),
    ],
)
def test_missing_or_needless_password_is_found(
    is_needed: bool, is_given: bool, error: str, level: Level, text: str
) -> None:
    """A password must be given if and only if the server requires one."""
    finding = check_password(is_needed=is_needed, is_given=is_given, error=error)
    assert finding.level is level
    assert text in finding.text
    assert_sound(finding)


@pytest.mark.parametrize(
    ("server", "redis", "level", "text"),
    [
        ("1.0", "7.4.0", Level.OK, "fibserver 1.0, same as this client"),
        ("1.1", "7.4.0", Level.WARNING, "fibserver 1.1, but this client is 1.0"),
        ("", "7.4.0", Level.PROBLEM, "Redis 7.4.0, not fibserver"),
        ("", "", Level.PROBLEM, "not a fibserver: it reports no version"),
    ],
)
def test_other_version_is_found(server: str, redis: str, level: Level, text: str) -> None:
    """Another version is a warning; a peer that is not a fibserver is a problem."""
    finding = check_version(server, "1.0", redis)
    assert finding.level is level
    assert text in finding.text
    assert_sound(finding)


@pytest.mark.parametrize(
    ("target", "connect", "round_trip", "level", "text"),
    [
        (LOCAL, 0.0001, 0.0001, Level.OK, "usual on one machine: below 1 ms"),
        (LOCAL_6, 0.0001, 0.0001, Level.OK, "on one machine"),
        (UNIX, 0.0001, 0.0001, Level.OK, "on one machine"),
        (REMOTE, 0.001, 0.004, Level.OK, "usual on a local network: below 5 ms"),
        (SCOPED, 0.001, 0.004, Level.OK, "on a local network"),
        (LOCAL, 0.0001, 0.004, Level.WARNING, "the server is slow"),
        (LOCAL, 0.1, 0.1, Level.WARNING, "the server is slow"),
        (REMOTE, 0.1, 0.1, Level.WARNING, "the network is slow"),
        (REMOTE, 0.001, 0.1, Level.WARNING, "the server is slow"),
    ],
)
def test_slow_round_trip_is_attributed(
    target: ResolvedAddress, connect: float, round_trip: float, level: Level, text: str
) -> None:
    """A slow round trip is due to the network if connecting is slow too, else to the server.

    Single slow round trips do not count: the median is judged.
    """
    finding = check_latency(target, connect, [round_trip, 9.0, 0.0])
    assert finding.level is level
    assert text in finding.text
    assert_sound(finding)
