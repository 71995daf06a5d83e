"""Commands about the server: what it is, how it is set, what it can do."""

import functools
import math
import time
from collections.abc import Callable, Iterator

from fibcommon.service.listeners import KEEPALIVE_SECONDS
from fibserver.commands.patterns import Glob
from fibserver.commands.session import Session
from fibserver.commands.subcommands import Subcommand, Subcommands
from fibserver.commands.table import COMMANDS, Argument, Command, Replies, command
from fibserver.monitoring.slow_log import MAX_ENTRIES, SLOW_SECONDS
from fibserver.protocol.reply_encoding import CommandError, Reply, Simple, Value, encode

_GROUP = "server"

MAX_PATTERN_BYTES = 64
"""Longer than any setting's name; matching a name is one step in the acceptor's loop."""

_GROUP_CATEGORIES = {"connection": "@connection", "transactions": "@transaction"}
"""Redis's ACL categories for groups of commands; its others have none of their own."""

_READ_ONLY_FLAGS = [Simple("readonly"), Simple("fast")]


_CONFIG = Subcommands(
    "CONFIG",
    {
        b"GET": Subcommand(
            -2,
            "<pattern> [<pattern> ...]",
            ("Return the settings that match the glob-like <pattern>, and their values.",),
        ),
    },
)

_COMMAND = Subcommands(
    "COMMAND",
    {
        b"COUNT": Subcommand(1, "", ("Return the number of commands.",)),
        b"DOCS": Subcommand(
            -1,
            "[<command-name> ...]",
            ("Return the documentation of the given commands, or of all.",),
        ),
        b"INFO": Subcommand(
            -1, "[<command-name> ...]", ("Return details about the given commands, or about all.",)
        ),
        b"LIST": Subcommand(
            -1,
            "[FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
            ("Return the names of all commands, or of those that the filter selects.",),
        ),
    },
)


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
def config(session: Session, arguments: list[bytes]) -> Replies:
    """Answer the settings whose names match a pattern, by our names and by Redis's."""
    if _CONFIG.parse(session, arguments) == b"HELP":
        return _CONFIG.help()
    patterns = [_glob(pattern) for pattern in arguments[1:]]
    return _matching_settings(session, patterns)


def _glob(pattern: bytes) -> Glob:
    if len(pattern) > MAX_PATTERN_BYTES:
        raise CommandError(f"a pattern may have {MAX_PATTERN_BYTES} bytes")
    return Glob(pattern.decode("ascii", "replace").lower())


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
        "tcp-keepalive": str(KEEPALIVE_SECONDS),
        "timeout": str(math.ceil(settings.idle_timeout)),  # whole seconds, as clients parse it
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
    if not arguments:
        return [_of_all_commands(b"INFO", session.protocol)]
    name, names = _COMMAND.parse(session, arguments), arguments[1:]
    if name == b"HELP":
        return _COMMAND.help()
    if not names and name != b"COUNT":
        return [_of_all_commands(name, session.protocol)]
    if name == b"LIST":
        return _filtered_names(names)
    return [encode(_command_value(name, names), session.protocol)]


@functools.cache
def _of_all_commands(subcommand: bytes, protocol: int) -> bytes:
    """Return a reply that is the same for all clients, as one object."""
    return encode(_command_value(subcommand, list(COMMANDS)), protocol)


def _command_value(subcommand: bytes, names: list[bytes]) -> Value:
    """Return the value of COUNT, LIST, INFO or DOCS for some commands."""
    entries = [COMMANDS.get(name.upper()) for name in names]
    known = [entry for entry in entries if entry is not None]
    match subcommand:
        case b"COUNT":
            return len(COMMANDS)
        case b"LIST":
            return [entry.lower_name for entry in known]
        case b"INFO":
            return [_entry(entry) if entry else None for entry in entries]
    return {entry.lower_name: _documentation(entry) for entry in known}


def _filtered_names(options: list[bytes]) -> Iterator[Reply]:
    """Return the names of the commands that COMMAND LIST FILTERBY selects."""
    match [word.upper() for word in options[:-1]]:
        case [b"FILTERBY", b"MODULE"]:
            return _names(lambda entry: False)  # there are no modules
        case [b"FILTERBY", b"ACLCAT"]:
            category = "@" + options[-1].decode("ascii", "replace").lower()
            return _names(lambda entry: category in _categories(entry))
        case [b"FILTERBY", b"PATTERN"]:
            pattern = _glob(options[-1])
            return _names(lambda entry: pattern.matches(entry.lower_name))
    raise CommandError("syntax error")


def _names(is_selected: Callable[[Command], bool]) -> Iterator[Reply]:
    names: list[Value] = []
    for entry in COMMANDS.values():
        if is_selected(entry):
            names.append(entry.lower_name)
        yield b""
    yield encode(names)


def _categories(entry: Command) -> list[str]:
    """Return the ACL categories of a command: those of its flags, and its group."""
    categories = ["@read", "@fast"]
    if entry.group in _GROUP_CATEGORIES:
        categories.append(_GROUP_CATEGORIES[entry.group])
    return categories


def _entry(entry: Command) -> Value:
    # No command has keys, so first key, last key and step are 0; then come, since Redis 7, ACL
    # categories, tips, key specifications and subcommands.
    categories = [Simple(category) for category in _categories(entry)]
    return [entry.lower_name, entry.arity, _READ_ONLY_FLAGS, 0, 0, 0, categories, [], [], []]


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
