"""Table of the abuses that `bench/overload.py` runs against the services.

Run as a command (`abuses.py NAME PART PORT SECONDS SEED`), it generates the load of one part of an
abuse. It prints a line when it starts, and at the end the counts of outcomes as JSON.
"""

import json
import resource
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from held_connections import HeldConnections
from request_flood import RequestFlood

__all__ = ["ABUSES", "FILES", "Abuse", "main"]

FILES = (10, 100, 24_000)
"""The values of n for which nginx serves the first n numbers as files."""

RESERVED_DESCRIPTORS = 100
PIPELINE_BYTES = 16_384
LONG_NAMES = (b"x" * 128, b"x" * 3900)
"""Both are set in turn: a server that rejects the second as too long keeps the first."""

FIRST_UNCACHED, UNCACHED_STEP, DIGITS_PER_INDEX = 20_000, 60, 0.209
UNCACHED_BYTES = 4_000_000
"""Size of one response: 1 MB would fit into the kernel's send buffer and cost fibweb nothing."""

DOCS_COMMANDS = 210
"""Together their replies have 1 MiB, the most that fibserver allows for one EXEC."""


class LoadGenerator(Protocol):
    """A source of load on one port."""

    def run(self, port: int, seconds: float, rng: Random) -> Counter[str]:
        """Load a server for `seconds`, and return how often each outcome occurred."""


@dataclass(frozen=True)
class Abuse:
    """One row of the table.

    Attributes:
        name: Value for `--only`.
        title: Description in the table.
        parts: Sources of load; each runs in a process of its own.
        is_http: Whether the load goes to fibweb; otherwise it goes to fibserver.
        peers: Other servers that get the same load: `nginx`, `redis`.
    """

    name: str
    title: str
    parts: tuple[LoadGenerator, ...]
    is_http: bool = True
    peers: tuple[str, ...] = ()


def _get(path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")
    return "\r\n".join(lines).encode()


def _number(lowest: int, highest: int) -> Callable[[Random], bytes]:
    return lambda rng: _get(f"/number/{rng.randint(lowest, highest)}")


def _first_numbers(index: int) -> list[bytes]:
    return [_get(f"/fib/24000?format={('json', 'csv')[index % 2]}")]


def _uncached(index: int) -> list[bytes]:
    start = FIRST_UNCACHED + UNCACHED_STEP * index
    count = int(UNCACHED_BYTES / (start * DIGITS_PER_INDEX))
    return [_get(f"/fib?start={start}&count={count}")]


def _nothing_or_a_byte(index: int) -> list[bytes]:
    return [b"G"] if index % 2 else []


def _resp(*args: bytes) -> bytes:
    lengths = (b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
    return b"*%d\r\n%b" % (len(args), b"".join(lengths))


def _named_list(index: int) -> list[bytes]:
    attributes = ((b"SETNAME",), (b"SETINFO", b"LIB-NAME"), (b"SETINFO", b"LIB-VER"))
    names = (_resp(b"CLIENT", *attribute, name) for name in LONG_NAMES for attribute in attributes)
    return [b"".join(names), b"CLIENT LIST\r\n"]


def _unread_documentation(index: int) -> list[bytes]:
    return [b"MULTI\r\n" + b"COMMAND DOCS\r\n" * DOCS_COMMANDS + b"EXEC\r\n"]


def _empty_client_list(rng: Random) -> bytes:
    return b"CLIENT LIST ID 0\r\n"


def _config_patterns(rng: Random) -> bytes:
    patterns = ("*".join(rng.choices("aeilmnost", k=6)) for _ in range(12))
    return " ".join(("CONFIG GET", *(f"*{pattern}*" for pattern in patterns))).encode() + b"\r\n"


def _pipeline(rng: Random) -> bytes:
    """Return 16 KB of one of the commands, in half of the cases between MULTI and EXEC."""
    command = rng.choice((_empty_client_list, _config_patterns))
    commands = b""
    while len(commands) < PIPELINE_BYTES:
        commands += command(rng)
    if rng.random() < 0.5:
        commands = b"MULTI\r\n" + commands + b"EXEC\r\n"
    return commands + b"ECHO sentinel\r\n"


def _malformed(rng: Random) -> bytes:
    digits = "Content-Length: " + "9" * 4301
    return rng.choice((b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", _get("/fib/10", digits)))


def _long_accept(rng: Random) -> bytes:
    types = (f"a/{rng.getrandbits(48):012x};q=0.5" for _ in range(600))
    return _get("/fib/10", "Accept: " + ",".join(types) + ",*/*")


def _max_descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


NGINX, REDIS = ("nginx",), ("redis",)

_STORM = RequestFlood(250, _number(10**6, 4 * 10**6), patience_seconds=1)
_RUDE_STORM = RequestFlood(250, _number(10**6, 4 * 10**6), patience_seconds=1, obeys=False)
_SLOW = HeldConnections(30, _first_numbers, bytes_per_second=8, receive_buffer_bytes=4096)
_SLOW_UNCACHED = HeldConnections(900, _uncached, bytes_per_second=8, receive_buffer_bytes=4096)
_IDLE = HeldConnections(min(11_000, _max_descriptors() - RESERVED_DESCRIPTORS), _nothing_or_a_byte)
_BYSTANDERS = HeldConnections(2000, lambda index: [])
_NAMED = HeldConnections(400, _named_list, receive_buffer_bytes=2048, renewal_seconds=5)
_UNREAD = HeldConnections(800, _unread_documentation, receive_buffer_bytes=2048)
_GIANT_NUMBERS = _number(9_000_000, 9_999_999)

ABUSES = (
    Abuse("quiet", "quiet", (), peers=NGINX + REDIS),
    Abuse(
        "giants-dropped",
        "300 requests for giant numbers, each connection reset at once",
        (RequestFlood(1, _number(9_900_000, 9_999_999), drops=True, per_run=300),),
    ),
    Abuse("giants", "40 connections request giant numbers", (RequestFlood(40, _GIANT_NUMBERS),)),
    Abuse("slow-readers", "30 slow readers of 60 MB", (_SLOW,), peers=NGINX),
    Abuse(
        "slow-uncached",
        "900 slow readers of 4 MB each, not cached and all different",
        (_SLOW_UNCACHED,),
    ),
    Abuse(
        "idle",
        "1,200 connections to fibweb, idle or with one byte sent",
        (HeldConnections(1200, _nothing_or_a_byte),),
        peers=NGINX,
    ),
    Abuse(
        "idle-fibserver",
        f"{_IDLE.count:,} connections to fibserver, idle or with one byte sent",
        (_IDLE,),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "client-list",
        "400 clients with long names send CLIENT LIST and do not read",
        (_NAMED,),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "command-docs",
        "800 clients send EXEC of COMMAND DOCS and do not read",
        (_UNREAD,),
        is_http=False,
    ),
    Abuse(
        "pipelines",
        "16 KB of CLIENT LIST ID 0, CONFIG GET or EXEC of these, among 2,000 idle clients",
        (_BYSTANDERS, RequestFlood(3, _pipeline, is_http=False)),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "malformed",
        "malformed requests",
        (RequestFlood(20, _malformed, patience_seconds=0.1),),
        peers=NGINX,
    ),
    Abuse(
        "long-accept",
        "Accept headers of 12 KB, all different",
        (RequestFlood(4, _long_accept),),
        peers=NGINX,
    ),
    Abuse(
        "impatience",
        "200 clients request F(10^6) to F(2·10^6), give up after 1 s and retry",
        (RequestFlood(200, _number(10**6, 2 * 10**6), patience_seconds=1),),
    ),
    Abuse(
        "storm",
        "500 clients request F(10^6) to F(4·10^6), give up after 1 s and retry",
        (_STORM, _STORM),
    ),
    Abuse("storm-rude", "the same, and they ignore Retry-After", (_RUDE_STORM, _RUDE_STORM)),
)


def main() -> None:
    """Run one part of an abuse, and print the counts of its outcomes."""
    name, part, port, seconds, seed = sys.argv[1:]
    hard = _max_descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    (generator,) = (abuse.parts[int(part)] for abuse in ABUSES if abuse.name == name)
    print("begun", flush=True)
    outcomes = generator.run(int(port), float(seconds), Random(f"{seed} {name} {part}"))
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main()
