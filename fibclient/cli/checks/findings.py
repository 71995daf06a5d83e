"""Findings of a diagnosis that are about the way to a server: from what was seen to what it means.

Here, as in `fibclient.cli.checks.health`, nothing is fetched: each function takes facts, and says
whether they are well, and if not, what to do.
"""

import errno
import ipaddress
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fibclient.cli.render.units import milliseconds_text
from fibclient.connections.other_services import DEFAULT_PORT_HINT, service_of
from fibcommon.addresses import ResolvedAddress

__all__ = [
    "Finding",
    "Level",
    "judge_connect",
    "judge_first_reply",
    "judge_latency",
    "judge_name",
    "judge_password",
    "judge_version",
    "needs_password",
]


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        check: its name.
        level: how bad it is.
        text: what was found.
        advice: what to do; empty if all is well.
        is_unreachable: whether it means that there is no answer to be had from the server.
    """

    check: str
    level: Level
    text: str
    advice: str = ""
    is_unreachable: bool = False


_CONNECT_ADVICE = {
    errno.ECONNREFUSED: "start a fibserver there (`fibserver --listen {address}`), or see which "
    "port it listens on (`ss -ltnp`)",
    errno.ENOENT: "start a fibserver there (`fibserver --listen {address}`), or see where its "
    "socket is (`ss -lxp`)",
    errno.EACCES: "let this user use the socket: put it into the group that owns it",
    errno.EPERM: "a firewall of this machine forbids it: see `nft list ruleset`",
    errno.ENETUNREACH: "this machine has no route to there: see `ip route`",
    errno.EHOSTUNREACH: "the machine is down or not in this network: see `ip neigh`",
    errno.ETIMEDOUT: "the machine is down, or a firewall on the way drops packets",
    errno.EAGAIN: "it has too many connections waiting: see whether it still runs (`fibserver` "
    "in `ps aux`), and restart it",
}

_USUAL_LOCAL_SECONDS = 0.001
_USUAL_NETWORK_SECONDS = 0.005


def judge_name(targets: Sequence[ResolvedAddress], error: str) -> Finding:
    """Judge where an address leads.

    Args:
        targets: the places, none if it leads nowhere.
        error: why it does not.
    """
    if not targets:
        return Finding(
            "name",
            Level.PROBLEM,
            error,
            "correct the name, or see what the resolver says (`getent hosts NAME`)",
            is_unreachable=True,
        )
    return Finding("name", Level.OK, ", ".join(map(_place, targets)))


def _place(target: ResolvedAddress) -> str:
    if isinstance(target.name, str):
        return f"{target.name} (Unix socket)"
    return f"{target.name[0]} ({'IPv4' if len(target.name) == 2 else 'IPv6'})"


def judge_connect(
    target: ResolvedAddress, outcome: float | OSError, *, is_other_reached: bool
) -> Finding:
    """Judge a connection.

    Args:
        target: where to.
        outcome: the seconds it took, or why there is none.
        is_other_reached: whether the same name leads to another place that can be reached.
    """
    if not isinstance(outcome, OSError):
        return Finding("connect", Level.OK, f"took {milliseconds_text(outcome)}")
    number = errno.ETIMEDOUT if isinstance(outcome, TimeoutError) else outcome.errno or 0
    reason = outcome.strerror or str(outcome)
    advice = _CONNECT_ADVICE.get(number, "see whether the server runs, and what is in between")
    if is_other_reached:
        return Finding(
            "connect",
            Level.WARNING,
            f"{reason}, but another address of the name can be reached",
            "use that address instead of the name, or let the server listen here as well",
        )
    return Finding(
        "connect",
        Level.PROBLEM,
        reason,
        advice.format(address=target.address),
        is_unreachable=True,
    )


def judge_first_reply(reply: bytes | None) -> Finding:
    """Judge what a peer says to PING on a new connection.

    Args:
        reply: its first bytes; empty if it closed the connection, None if it kept silent.
    """

    def problem(text: str, advice: str, *, is_unreachable: bool = False) -> Finding:
        return Finding("protocol", Level.PROBLEM, text, advice, is_unreachable)

    if reply is None:
        return problem(
            "it accepts connections and says nothing",
            "the process hangs or is stopped: see its log and its state (`ps -o stat,wchan`)",
            is_unreachable=True,
        )
    if not reply:
        return problem(
            "it closes the connection without a word",
            "see its log; a proxy without a server behind it does this, and TLS as well",
            is_unreachable=True,
        )
    if reply.startswith(b"+PONG\r\n") or needs_password(reply):
        return Finding("protocol", Level.OK, "PING is understood")
    if service := service_of(reply):
        return problem(
            f"that is {service}: {DEFAULT_PORT_HINT}",
            "correct the port, or the proxy in between (it must pass on plain TCP)",
        )
    line = reply.partition(b"\r\n")[0]
    if line.startswith(b"-ERR max number of clients"):
        return problem("it has no room for another client", "raise max_clients, or use fewer")
    if line.startswith(b"-"):
        return problem(
            f"it refuses: {line[1:].decode('utf-8', 'replace')}", "do what the server says"
        )
    return problem(f"it answers {reply[:32]!r}, which is no reply", "correct the address")


def needs_password(reply: bytes) -> bool:
    """Return whether a reply says that a password is needed."""
    return reply.startswith(b"-NOAUTH")


def judge_password(*, is_needed: bool, is_given: bool, refusal: str) -> Finding:
    """Judge the password.

    Args:
        is_needed: whether the server wants one.
        is_given: whether there is one to say.
        refusal: what the server said to it; empty if it took it.
    """
    if not is_given:
        if not is_needed:
            return Finding("password", Level.OK, "none is needed")
        return Finding(
            "password",
            Level.PROBLEM,
            "one is needed",
            "give it with --password-file FILE or FIBCLIENT_PASSWORD_FILE",
        )
    if not refusal:
        return Finding("password", Level.OK, "it is right")
    if is_needed:
        return Finding(
            "password",
            Level.PROBLEM,
            f"it is wrong: {refusal}",
            "compare the first line of this file with that of the server's password_file",
        )
    return Finding(
        "password",
        Level.PROBLEM,
        "one is given, and the server has none, so it refuses it",
        "leave out --password-file, or set password_file at the server",
    )


def judge_version(server: str, client: str, redis: str) -> Finding:
    """Judge what the peer is.

    Args:
        server: the version it tells as a fibserver; empty if it tells none.
        client: the version of this client.
        redis: the version it tells as a Redis; likewise.
    """
    if not server:
        what = f"it is a Redis {redis}" if redis else "it tells no version"
        return Finding(
            "version",
            Level.PROBLEM,
            f"{what}, and no fibserver",
            f"correct the port: {DEFAULT_PORT_HINT}",
        )
    if server == client:
        return Finding("version", Level.OK, f"fibserver {server}, as this client")
    return Finding(
        "version",
        Level.WARNING,
        f"fibserver {server}, this client is {client}",
        "use the same version on both sides",
    )


def judge_latency(
    target: ResolvedAddress, connect_seconds: float, round_trips_seconds: Sequence[float]
) -> Finding:
    """Judge how long a round trip takes.

    Args:
        target: where to.
        connect_seconds: how long it took to connect; the network's share of a round trip, since
            no process of the server has a part in it.
        round_trips_seconds: of some PINGs, at least one.
    """
    median = statistics.median(round_trips_seconds)
    is_local = _is_local(target)
    usual = _USUAL_LOCAL_SECONDS if is_local else _USUAL_NETWORK_SECONDS
    where = "on one machine" if is_local else "in a local network"
    text = (
        f"{milliseconds_text(median)} for a round trip, the median of {len(round_trips_seconds)}; "
        f"usual {where}: below {milliseconds_text(usual)}"
    )
    if median <= usual:
        return Finding("latency", Level.OK, text)
    if not is_local and connect_seconds >= median / 2:
        return Finding(
            "latency",
            Level.WARNING,
            f"{text}; to connect took {milliseconds_text(connect_seconds)}, so it is the way",
            "bring client and server closer together, or ask for more numbers at a time",
        )
    return Finding(
        "latency",
        Level.WARNING,
        f"{text}; to connect took {milliseconds_text(connect_seconds)}, so it is the server",
        "see how busy it is (`fibclient top`), what keeps it (`redis-cli SLOWLOG GET`), and "
        "whether its machine has processors to spare",
    )


def _is_local(target: ResolvedAddress) -> bool:
    if isinstance(target.name, str):
        return True
    return ipaddress.ip_address(target.name[0]).is_loopback
