"""Examination of a server in steps that build on each other.

    name ──> connect ──> protocol ──> password ──> version ──> latency, health, numbers

A failed step ends the diagnosis, since later steps would fail for the same reason. This module
fetches the data; `fibclient.cli.checks.findings` and `fibclient.cli.checks.health` check it.
"""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from fibclient.cli.checks.digits import SliceChecker, WrongNumber
from fibclient.cli.checks.findings import (
    Finding,
    Level,
    check_connect,
    check_first_reply,
    check_latency,
    check_name,
    check_password,
    check_version,
    needs_password,
)
from fibclient.cli.checks.health import Sample, check_health, check_samples
from fibclient.cli.main import CliSession
from fibclient.cli.measuring.server_sample import info_fields
from fibclient.cli.measuring.unpooled import UnpooledConnection
from fibclient.connections.resp import encode_request
from fibclient.errors import FibError, RequestRefused, ServerMisbehaved, ServerUnreachable
from fibclient.transport.resolver import resolve_in_time
from fibcommon import __version__
from fibcommon.addresses import Address, ResolvedAddress
from fibcommon.formats import FORMATS

__all__ = ["EndpointReport", "diagnose"]

ROUND_TRIPS = 21
FIRST_REPLY_BYTES = 64

SAMPLE_RANGES = ((0, 100), (1_000, 1_020), (20_000, 20_003))
LARGE_SAMPLES = (("binary", 1_000_000, 1_000_002), ("text", 1_000_000, 1_000_002))
"""Each of these numbers takes a server some milliseconds, and has 87 or 209 kB."""


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """The findings about one endpoint.

    Attributes:
        server: The address that resolved to the endpoint.
        place: The endpoint, or the address if it cannot be resolved.
        findings: The findings in the order of the checks.
    """

    server: Address
    place: str
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class _ConnectResult:
    """The result of connecting to an endpoint and sending PING.

    Attributes:
        target: The endpoint.
        connect: The seconds it took to connect, or the error.
        reply: The first bytes of the reply to PING; None if none came in time.
    """

    target: ResolvedAddress
    connect: float | OSError
    reply: bytes | None


def diagnose(session: CliSession, server: Address) -> list[EndpointReport]:
    """Examine all endpoints of an address.

    Args:
        session: The password and the time limits.
        server: The address.
    """
    patience = session.step_timeout_seconds
    try:
        targets = resolve_in_time(server, patience)
    except ServerUnreachable as error:
        return [EndpointReport(server, str(server), [check_name([], str(error))])]
    name = check_name(targets, "")
    with ThreadPoolExecutor(len(targets)) as threads:
        contacts = list(threads.map(lambda target: _connect_and_ping(target, patience), targets))
        are_reached = [not isinstance(contact.connect, OSError) for contact in contacts]
        return list(
            threads.map(
                lambda contact: EndpointReport(
                    server,
                    str(contact.target),
                    [name, *_findings(session, contact, any(are_reached), patience)],
                ),
                contacts,
            )
        )


def _connect_and_ping(target: ResolvedAddress, step_timeout_seconds: float) -> _ConnectResult:
    """Connect, send PING, and return the reply of any kind of peer."""
    with socket.socket(target.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(step_timeout_seconds)
        begin = time.monotonic()
        try:
            sock.connect(target.name)
        except OSError as error:
            return _ConnectResult(target, error, None)
        seconds = time.monotonic() - begin
        reply = b""
        try:
            sock.sendall(encode_request("PING"))
            while b"\r\n" not in reply and len(reply) < FIRST_REPLY_BYTES:
                received = sock.recv(FIRST_REPLY_BYTES)
                if not received:
                    break
                reply += received
        except TimeoutError:
            return _ConnectResult(target, seconds, reply or None)
        except OSError:
            return _ConnectResult(target, seconds, reply)  # reset by the peer
        return _ConnectResult(target, seconds, reply)


def _findings(
    session: CliSession, contact: _ConnectResult, is_any_reached: bool, step_timeout_seconds: float
) -> Iterator[Finding]:
    """Yield the findings about an endpoint, up to the first step that fails."""
    target, connect = contact.target, contact.connect
    yield check_connect(target, connect, is_other_reached=is_any_reached)
    if isinstance(connect, OSError):
        return
    protocol = check_first_reply(contact.reply)
    yield protocol
    if protocol.level is not Level.OK:
        return
    try:
        with closing(UnpooledConnection(target, step_timeout_seconds)) as connection:
            yield from _server_findings(
                session, contact, connect, connection, step_timeout_seconds
            )
    except FibError as error:
        yield Finding(
            "protocol",
            Level.PROBLEM,
            f"the diagnosis failed: {error}",
            "check the server's log, and proxies and firewalls in between",
            is_unreachable=isinstance(error, ServerUnreachable),
        )


def _server_findings(
    session: CliSession,
    contact: _ConnectResult,
    connect_seconds: float,
    connection: UnpooledConnection,
    step_timeout_seconds: float,
) -> Iterator[Finding]:
    """Yield the findings about a peer that replies to PING."""
    password = check_password(
        is_needed=needs_password(contact.reply or b""),
        is_given=session.password is not None,
        error=_authenticate(connection, session.password),
    )
    yield password
    if password.level is not Level.OK:
        return
    info = info_fields(connection.info())
    identity = check_version(
        info.get("fibserver_version", ""), __version__, info.get("redis_version", "")
    )
    yield identity
    if identity.level is Level.PROBLEM:
        return
    yield check_latency(contact.target, connect_seconds, _round_trips_seconds(connection))
    info["memory_limit"] = _setting(connection, "memory_limit")
    yield from check_health(info)
    yield check_samples(list(_samples(session, contact.target, step_timeout_seconds)))


def _authenticate(connection: UnpooledConnection, password: str | None) -> str:
    """Send the password, if any; return the server's error, or ""."""
    if password is not None:
        try:
            connection.call("AUTH", password)
        except RequestRefused as error:
            return str(error)
    return ""


def _setting(connection: UnpooledConnection, name: str) -> str:
    match connection.call("CONFIG", "GET", name):
        case [_, bytes(value)]:
            return value.decode("utf-8", "replace")
    return ""


def _round_trips_seconds(connection: UnpooledConnection) -> list[float]:
    times = []
    for _ in range(ROUND_TRIPS):
        begin = time.monotonic()
        connection.call("PING")
        times.append(time.monotonic() - begin)
    return times


def _samples(
    session: CliSession, target: ResolvedAddress, step_timeout_seconds: float
) -> Iterator[Sample]:
    """Request and check some numbers in each format, until a request gets no reply."""
    formats = [name for name in FORMATS if name != "array"]
    wanted = [(name, *bounds) for name in formats for bounds in SAMPLE_RANGES]
    with session.client(
        target.address,
        resolve=lambda address: [target],
        max_retries=0,
        idle_timeout_seconds=step_timeout_seconds,
    ) as client:
        for name, start, stop in (*wanted, *LARGE_SAMPLES):
            checker = SliceChecker(FORMATS[name], start, stop)
            try:
                for piece in client.stream(start, stop, name):
                    checker.feed(piece)
                checker.finish()
            except WrongNumber as error:
                yield Sample(name, start, stop, "wrong", str(error))
            except RequestRefused as error:
                yield Sample(name, start, stop, error.code, str(error))
            except ServerMisbehaved as error:
                yield Sample(name, start, stop, "wrong", str(error))
            except ServerUnreachable as error:
                yield Sample(name, start, stop, "silent", str(error))
                return
            else:
                yield Sample(name, start, stop)
