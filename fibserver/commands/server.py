"""Commands about the server: what it is, how it is set, what it can do."""

import functools
import time
from collections.abc import Iterator

from fibserver.commands.patterns import Glob
from fibserver.commands.table import COMMANDS, Argument, Command, Replies, command
from fibserver.replies import CommandError, Reply, Simple, Value, encode
from fibserver.request_parser import printable
from fibserver.session import Session
from fibserver.slow_log import MAX_ENTRIES, SLOW_SECONDS

_GROUP = "server"

MAX_PATTERN_BYTES = 64
"""Longer than any setting's name; matching a name is one step in the acceptor's loop."""

_READ_ONLY_FLAGS = [Simple("readonly"), Simple("fast")]


@command(
    "INFO",
    -1,
    "Returns facts and figures about the server.",
    _GROUP,
    (Argument("section", "string", is_optional=True),),
)
def info(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer the sections asked for, or all."""
    sections = [section.decode("ascii", "replace").lower() for section in arguments]
    return [encode(session.server.information(sections), session.protocol)]


@command("TIME", 1, "Returns the server's time: seconds and microseconds.", _GROUP)
def time_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer Unix time as two strings."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return [encode([str(seconds), str(nanoseconds // 1000)], session.protocol)]


@command(
    "CONFIG",
    -2,
    "Returns settings (CONFIG GET pattern ...).",
    _GROUP,
    (
        Argument("subcommand", "string"),
        Argument("pattern", "string"),
    ),
)
def config(session: Session, arguments: list[bytes]) -> Iterator[Reply]:
    """Answer the settings whose names match a pattern, by our names and by Redis's."""
    if arguments[0].upper() != b"GET":
        raise CommandError(f"unknown subcommand {printable(arguments[0])}. Try CONFIG HELP.")
    if len(arguments) < 2:
        raise CommandError("wrong number of arguments for 'config|get' command")
    if max(map(len, arguments[1:])) > MAX_PATTERN_BYTES:
        raise CommandError(f"a pattern may have {MAX_PATTERN_BYTES} bytes")
    patterns = [Glob(pattern.decode("ascii", "replace").lower()) for pattern in arguments[1:]]
    return _matching_settings(session, patterns)


def _matching_settings(session: Session, patterns: list[Glob]) -> Iterator[Reply]:
    settings = session.server.settings
    values = {
        "appendonly": "no",
        "databases": "1",
        "maxclients": str(settings.max_clients),
        "maxmemory": str(settings.memory_limit),
        "maxmemory-clients": str(settings.max_output_bytes),
        "save": "",
        "slowlog-log-slower-than": str(int(SLOW_SECONDS * 1e6)),
        "slowlog-max-len": str(MAX_ENTRIES),
        "timeout": str(settings.idle_timeout),
        **settings.as_text(),
    }
    matching: dict[str, Value] = {}
    for pattern in patterns:
        for name, value in values.items():
            if name not in matching and pattern.matches(name):
                matching[name] = value
            yield b""
    yield encode(matching, session.protocol)


@command(
    "COMMAND",
    -1,
    "Returns what commands there are.",
    _GROUP,
    (
        Argument("subcommand", "string", is_optional=True),
        Argument("name", "string", is_optional=True),
    ),
)
def command_(session: Session, arguments: list[bytes]) -> Replies:
    """Answer from the command table, as client libraries and redis-cli's help expect."""
    words = [word.upper() for word in arguments]
    if words in ([], [b"INFO"], [b"LIST"], [b"DOCS"]):
        return [_of_all_commands(tuple(words), session.protocol)]
    return [encode(_command_value(arguments), session.protocol)]


@functools.cache
def _of_all_commands(words: tuple[bytes, ...], protocol: int) -> bytes:
    """Return a reply that is the same for all clients, as one object."""
    return encode(_command_value(list(words)), protocol)


def _command_value(arguments: list[bytes]) -> Value:
    value: Value
    match [word.upper() for word in arguments]:
        case [] | [b"INFO"]:
            value = [_entry(entry) for entry in COMMANDS.values()]
        case [b"INFO", *names]:
            value = [_entry(COMMANDS[name]) if name in COMMANDS else None for name in names]
        case [b"COUNT"]:
            value = len(COMMANDS)
        case [b"LIST"]:
            value = [entry.lower_name for entry in COMMANDS.values()]
        case [b"DOCS", *names]:
            chosen = [COMMANDS[name] for name in names or COMMANDS if name in COMMANDS]
            value = {entry.lower_name: _documentation(entry) for entry in chosen}
        case _:
            raise CommandError(f"unknown subcommand {printable(arguments[0])}. Try COMMAND HELP.")
    return value


def _entry(entry: Command) -> Value:
    # No command has keys, so first key, last key and step are 0; then come, since Redis 7, ACL
    # categories, tips, key specifications and subcommands.
    return [entry.lower_name, entry.arity, _READ_ONLY_FLAGS, 0, 0, 0, [], [], [], []]


def _documentation(entry: Command) -> Value:
    return {
        "summary": entry.summary,
        "since": "1.0.0",
        "group": entry.group,
        "arguments": [_argument(argument) for argument in entry.arguments],
    }


def _argument(argument: Argument) -> Value:
    fields: dict[str, Value] = {"name": argument.name, "type": argument.type}
    if argument.token:
        fields["token"] = argument.token
    if argument.is_optional:
        # redis-cli aborts on flags that are not simple strings.
        fields["flags"] = [Simple("optional")]
    return fields
