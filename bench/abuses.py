"""What clients do to the services in `bench/overload.py`: the abuses as data.

Run as a command (`abuses.py NAME PART PORT SECONDS SEED`) it is one of the processes that do it.
It prints a line when it begins, and as JSON what came of its connections when it is over.
"""

import json
import resource
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from asking import Asking
from holding import Holding

__all__ = ["ABUSES", "FILES", "Abuse", "main"]

FILES = (10, 100, 24_000)
"""The first n numbers that nginx has as files."""

RESERVED_DESCRIPTORS = 100
PIPELINE_BYTES = 16_384
LONG_NAMES = (b"x" * 128, b"x" * 3900)
"""The second is tried after the first: where it is too long, the first stays."""

FIRST_UNCACHED, UNCACHED_STEP, DIGITS_PER_INDEX = 20_000, 60, 0.209
UNCACHED_BYTES = 4_000_000
"""Of one answer: one of 1 MB would lie in Linux's send buffer and cost fibweb nothing."""

DOCUMENTATIONS = 210
"""So many replies are 1 MiB, which is what fibserver lets one EXEC have."""


class Crowd(Protocol):
    """Connections to one port."""

    def run(self, port: int, seconds: float, chance: Random) -> Counter[str]:
        """Burden a server for a while, and return how often what happened."""


@dataclass(frozen=True)
class Abuse:
    """One row of the table.

    Attributes:
        name: what `--only` calls it.
        title: what the table calls it.
        parts: each runs in a process of its own.
        is_http: whether it is done to fibweb, or else to fibserver.
        peers: what else it is done to: `nginx`, `redis`.
    """

    name: str
    title: str
    parts: tuple[Crowd, ...]
    is_http: bool = True
    peers: tuple[str, ...] = ()


def _get(path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")
    return "\r\n".join(lines).encode()


def _number(lowest: int, highest: int) -> Callable[[Random], bytes]:
    return lambda chance: _get(f"/number/{chance.randint(lowest, highest)}")


def _first_numbers(index: int) -> list[bytes]:
    return [_get(f"/fib/24000?format={('json', 'csv')[index % 2]}")]


def _uncached(index: int) -> list[bytes]:
    start = FIRST_UNCACHED + UNCACHED_STEP * index
    count = int(UNCACHED_BYTES / (start * DIGITS_PER_INDEX))
    return [_get(f"/fib?start={start}&count={count}")]


def _nothing_or_a_byte(index: int) -> list[bytes]:
    return [b"G"] if index % 2 else []


def _resp(*arguments: bytes) -> bytes:
    lengths = (b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments)
    return b"*%d\r\n%b" % (len(arguments), b"".join(lengths))


def _named_list(index: int) -> list[bytes]:
    attributes = ((b"SETNAME",), (b"SETINFO", b"LIB-NAME"), (b"SETINFO", b"LIB-VER"))
    names = (_resp(b"CLIENT", *each, name) for name in LONG_NAMES for each in attributes)
    return [b"".join(names), b"CLIENT LIST\r\n"]


def _unread_documentation(index: int) -> list[bytes]:
    return [b"MULTI\r\n" + b"COMMAND DOCS\r\n" * DOCUMENTATIONS + b"EXEC\r\n"]


def _list_nobody(chance: Random) -> bytes:
    return b"CLIENT LIST ID 0\r\n"


def _config_patterns(chance: Random) -> bytes:
    patterns = ("*".join(chance.choices("aeilmnost", k=6)) for _ in range(12))
    return " ".join(("CONFIG GET", *(f"*{each}*" for each in patterns))).encode() + b"\r\n"


def _pipeline(chance: Random) -> bytes:
    """Return 16 KB of one of the commands, every other time within MULTI and EXEC."""
    command = chance.choice((_list_nobody, _config_patterns))
    commands = b""
    while len(commands) < PIPELINE_BYTES:
        commands += command(chance)
    if chance.random() < 0.5:
        commands = b"MULTI\r\n" + commands + b"EXEC\r\n"
    return commands + b"ECHO sentinel\r\n"


def _malformed(chance: Random) -> bytes:
    digits = "Content-Length: " + "9" * 4301
    return chance.choice((b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", _get("/fib/10", digits)))


def _long_accept(chance: Random) -> bytes:
    types = (f"a/{chance.getrandbits(48):012x};q=0.5" for _ in range(600))
    return _get("/fib/10", "Accept: " + ",".join(types) + ",*/*")


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


NGINX, REDIS = ("nginx",), ("redis",)

_STORM = Asking(250, _number(10**6, 4 * 10**6), patience_seconds=1)
_RUDE_STORM = Asking(250, _number(10**6, 4 * 10**6), patience_seconds=1, obeys=False)
_SLOW = Holding(30, _first_numbers, bytes_per_second=8, receive_buffer_bytes=4096)
_SLOW_UNCACHED = Holding(900, _uncached, bytes_per_second=8, receive_buffer_bytes=4096)
_CROWD = Holding(min(11_000, _descriptors() - RESERVED_DESCRIPTORS), _nothing_or_a_byte)
_BYSTANDERS = Holding(2000, lambda index: [])
_NAMED = Holding(400, _named_list, receive_buffer_bytes=2048, renewal_seconds=5)
_UNREAD = Holding(800, _unread_documentation, receive_buffer_bytes=2048)
_GIANTS = _number(9_000_000, 9_999_999)

ABUSES = (
    Abuse("quiet", "quiet", (), peers=NGINX + REDIS),
    Abuse(
        "giants-dropped",
        "300 giant numbers asked for, each connection reset at once",
        (Asking(1, _number(9_900_000, 9_999_999), drops=True, per_run=300),),
    ),
    Abuse("giants", "40 connections ask for giant numbers", (Asking(40, _GIANTS),)),
    Abuse("slow-readers", "30 slow readers of 60 MB", (_SLOW,), peers=NGINX),
    Abuse(
        "slow-uncached",
        "900 slow readers of 4 MB each, not cached and all different",
        (_SLOW_UNCACHED,),
    ),
    Abuse(
        "idle",
        "1,200 connections to fibweb, idle or with one byte sent",
        (Holding(1200, _nothing_or_a_byte),),
        peers=NGINX,
    ),
    Abuse(
        "idle-fibserver",
        f"{_CROWD.count:,} connections to fibserver, idle or with one byte sent",
        (_CROWD,),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "client-list",
        "400 clients with long names ask CLIENT LIST and do not read",
        (_NAMED,),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "command-docs",
        "800 clients do not read EXEC of COMMAND DOCS",
        (_UNREAD,),
        is_http=False,
    ),
    Abuse(
        "pipelines",
        "16 KB of CLIENT LIST ID 0, CONFIG GET or EXEC of these, among 2,000 idle clients",
        (_BYSTANDERS, Asking(3, _pipeline, is_http=False)),
        is_http=False,
        peers=REDIS,
    ),
    Abuse(
        "malformed",
        "malformed requests",
        (Asking(20, _malformed, patience_seconds=0.1),),
        peers=NGINX,
    ),
    Abuse(
        "long-accept",
        "Accept headers of 12 KB, all different",
        (Asking(4, _long_accept),),
        peers=NGINX,
    ),
    Abuse(
        "impatience",
        "200 clients ask for F(10^6) to F(2·10^6), give up after 1 s and ask again",
        (Asking(200, _number(10**6, 2 * 10**6), patience_seconds=1),),
    ),
    Abuse(
        "storm",
        "500 clients ask for F(10^6) to F(4·10^6), give up after 1 s and ask again",
        (_STORM, _STORM),
    ),
    Abuse("storm-rude", "the same, and they ignore Retry-After", (_RUDE_STORM, _RUDE_STORM)),
)


def main() -> None:
    """Do one part of an abuse, and print what came of it."""
    name, part, port, seconds, seed = sys.argv[1:]
    hard = _descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    (crowd,) = (each.parts[int(part)] for each in ABUSES if each.name == name)
    print("begun", flush=True)
    ends = crowd.run(int(port), float(seconds), Random(f"{seed} {name} {part}"))
    print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    main()
