"""Findings about the connection to a server, its protocol, password, version and latency.

As in `fibclient.cli.checks.health`, the functions do no I/O: each checks measurements and, if
something is wrong, gives advice.
"""

import errno
import ipaddress
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fibclient.cli.remedies import (
    NO_PASSWORD,
    TOO_MANY_CLIENTS,
    UNWANTED_PASSWORD,
    WRONG_PASSWORD,
)
from fibclient.cli.render.units import milliseconds_text
from fibclient.connections.other_services import DEFAULT_PORT_HINT, service_of
from fibcommon.addresses import ResolvedAddress

__all__ = [
    "PROCESS_STATE",
    "Finding",
    "Level",
    "check_connect",
    "check_first_reply",
    "check_latency",
    "check_name",
    "check_password",
    "check_version",
    "needs_password",
]


class Level(Enum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        check: The name of the check.
        level: The severity.
        text: What was found.
        hint: What to do; empty if nothing is wrong.
        is_unreachable: Whether the server is unreachable.
    """

    check: str
    level: Level
    text: str
    hint: str = ""
    is_unreachable: bool = False


PROCESS_STATE = "`ps -o pid,stat,wchan -C fibserver`"
"""Command that prints whether the processes of a server are stopped or wait in the kernel."""

_CONNECT_ADVICE = {
    errno.ECONNREFUSED: "start a fibserver there (`systemctl start fibserver`, or `fibserver "
    "--listen {address}`), or check which port it listens on (`ss -ltnp`)",
    errno.ENOENT: "start a fibserver there (`systemctl start fibserver`, or `fibserver --listen "
    "{address}`), or check the path of its socket (`ss -lxp`)",
    errno.EACCES: "add this user to the group that owns the socket",
    errno.EPERM: "a firewall on this machine blocks it: see `nft list ruleset`",
    errno.ENETUNREACH: "this machine has no route to the server: see `ip route`",
    errno.EHOSTUNREACH: "the server's machine is down or not on this network: see `ip neigh`",
    errno.ETIMEDOUT: "the server's machine is down, or a firewall in between drops packets",
    errno.EAGAIN: "the server's accept queue is full: check whether it hangs or is stopped "
    f"({PROCESS_STATE}), and restart it",
}

_USUAL_LOCAL_SECONDS = 0.001
_USUAL_NETWORK_SECONDS = 0.005


def check_name(targets: Sequence[ResolvedAddress], error: str) -> Finding:
    """Check the resolution of an address.

    Args:
        targets: The endpoints; empty if the address cannot be resolved.
        error: Why it cannot be resolved.
    """
    if not targets:
        return Finding(
            "name",
            Level.PROBLEM,
            error,
            "correct the name, or check the resolver (`getent hosts NAME`)",
            is_unreachable=True,
        )
    return Finding("name", Level.OK, ", ".join(map(_endpoint_text, targets)))


def _endpoint_text(target: ResolvedAddress) -> str:
    if isinstance(target.name, str):
        return f"{target.name} (Unix socket)"
    return f"{target.name[0]} ({'IPv4' if len(target.name) == 2 else 'IPv6'})"


def check_connect(
    target: ResolvedAddress, result: float | OSError, *, is_other_reached: bool
) -> Finding:
    """Check the result of a connection attempt.

    Args:
        target: The endpoint.
        result: The seconds it took, or the error.
        is_other_reached: Whether another endpoint of the same name is reachable.
    """
    if not isinstance(result, OSError):
        return Finding("connect", Level.OK, f"took {milliseconds_text(result)}")
    number = errno.ETIMEDOUT if isinstance(result, TimeoutError) else result.errno or 0
    reason = result.strerror or str(result)
    hint = _CONNECT_ADVICE.get(number, "check whether the server runs, and firewalls in between")
    if is_other_reached:
        return Finding(
            "connect",
            Level.WARNING,
            f"{reason}, but another address of the name is reachable",
            "use that address instead of the name, or make the server listen on this one too",
        )
    return Finding(
        "connect",
        Level.PROBLEM,
        reason,
        hint.format(address=target.address),
        is_unreachable=True,
    )


def check_first_reply(reply: bytes | None) -> Finding:
    """Check a peer's reply to PING on a new connection.

    Args:
        reply: Its first bytes; empty if the peer closed the connection, None if none came in time.
    """

    def problem(text: str, hint: str, *, is_unreachable: bool = False) -> Finding:
        return Finding("protocol", Level.PROBLEM, text, hint, is_unreachable)

    if reply is None:
        return problem(
            "the server accepts connections but sends nothing",
            f"its process hangs or is stopped: see its log and its state ({PROCESS_STATE}), and "
            "restart it",
            is_unreachable=True,
        )
    if not reply:
        return problem(
            "the peer closes the connection without a reply",
            "see its log; proxies without a server and TLS servers do this too",
            is_unreachable=True,
        )
    if reply.startswith(b"+PONG\r\n") or needs_password(reply):
        return Finding("protocol", Level.OK, "the peer replies to PING")
    if service := service_of(reply):
        return problem(
            f"the peer is {service}: {DEFAULT_PORT_HINT}",
            "correct the port, or the proxy in between (it must forward plain TCP)",
        )
    line = reply.partition(b"\r\n")[0]
    if line.startswith(b"-ERR max number of clients"):
        return problem("the server has reached max_clients", TOO_MANY_CLIENTS)
    if line.startswith(b"-"):
        return problem(
            f"the peer rejects PING: {line[1:].decode('utf-8', 'replace')}",
            "resolve the error that the server reports; its log may have more",
        )
    return problem(
        f"{reply[:32]!r} is not a reply to PING",
        f"correct the address: {DEFAULT_PORT_HINT}",
    )


def needs_password(reply: bytes) -> bool:
    """Return whether a reply requires a password."""
    return reply.startswith(b"-NOAUTH")


def check_password(*, is_needed: bool, is_given: bool, error: str) -> Finding:
    """Check the password.

    Args:
        is_needed: Whether the server requires one.
        is_given: Whether the client has one.
        error: The server's error reply; empty if it accepted the password.
    """
    if not is_given:
        if not is_needed:
            return Finding("password", Level.OK, "not required")
        return Finding(
            "password",
            Level.PROBLEM,
            "required, but not given",
            NO_PASSWORD,
        )
    if not error:
        return Finding("password", Level.OK, "accepted")
    if is_needed:
        return Finding(
            "password",
            Level.PROBLEM,
            f"rejected: {error}",
            WRONG_PASSWORD,
        )
    return Finding(
        "password",
        Level.PROBLEM,
        "given, but the server has none and rejects it",
        UNWANTED_PASSWORD,
    )


def check_version(server: str, client: str, redis: str) -> Finding:
    """Check the peer's version.

    Args:
        server: The fibserver version that the peer reports; empty if none.
        client: The version of this client.
        redis: The Redis version that the peer reports; empty if none.
    """
    if not server:
        text = "the peer is not a fibserver: it reports no version"
        if redis:
            text = f"the peer is Redis {redis}, not fibserver"
        return Finding(
            "version",
            Level.PROBLEM,
            text,
            f"correct the port: {DEFAULT_PORT_HINT}",
        )
    if server == client:
        return Finding("version", Level.OK, f"fibserver {server}, same as this client")
    return Finding(
        "version",
        Level.WARNING,
        f"fibserver {server}, but this client is {client}",
        "use the same version on both sides",
    )


def check_latency(
    target: ResolvedAddress, connect_seconds: float, round_trips_seconds: Sequence[float]
) -> Finding:
    """Check the round-trip time.

    Args:
        target: The endpoint.
        connect_seconds: How long it took to connect. It measures the network's share of a round
            trip, since no process of the server takes part in it.
        round_trips_seconds: The durations of some PINGs, at least one.
    """
    median = statistics.median(round_trips_seconds)
    is_local = _is_local(target)
    usual = _USUAL_LOCAL_SECONDS if is_local else _USUAL_NETWORK_SECONDS
    where = "on one machine" if is_local else "on a local network"
    text = (
        f"median of {len(round_trips_seconds)} round trips: {milliseconds_text(median)}; "
        f"usual {where}: below {milliseconds_text(usual)}"
    )
    if median <= usual:
        return Finding("latency", Level.OK, text)
    if not is_local and connect_seconds >= median / 2:
        return Finding(
            "latency",
            Level.WARNING,
            f"{text}; connecting took {milliseconds_text(connect_seconds)}: the network is slow",
            "move client and server closer together, or request more numbers per call",
        )
    return Finding(
        "latency",
        Level.WARNING,
        f"{text}; connecting took {milliseconds_text(connect_seconds)}: the server is slow",
        "check how busy it is (`fibclient top`), which commands are slow (`redis-cli SLOWLOG "
        "GET`), and whether its machine has idle cores",
    )


def _is_local(target: ResolvedAddress) -> bool:
    if isinstance(target.name, str):
        return True
    return ipaddress.ip_address(target.name[0]).is_loopback
