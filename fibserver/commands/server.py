"""Server commands: INFO, TIME, CONFIG GET and COMMAND."""

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
"""Longer than any setting's name. Matching one name is one step in the acceptor's loop."""

_GROUP_CATEGORIES = {"connection": "@connection", "transactions": "@transaction"}
"""Redis's ACL categories by command group; the other groups have none."""

_READ_ONLY_FLAGS = [Simple("readonly"), Simple("fast")]


_CONFIG = Subcommands(
    "CONFIG",
    {
        b"GET": Subcommand(
            -2,
            "<pattern> [<pattern> ...]",
            ("Return the names and values of the settings that match a glob-like <pattern>.",),
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
            ("Return the documentation of the given commands, or of all commands.",),
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
    "Returns information and statistics about the server.",
    _GROUP,
    (Argument("section", "string", is_optional=True),),
)
def info(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the given sections, or the default ones if none are given."""
    sections = [section.decode("ascii", "replace").lower() for section in arguments]
    return [encode(session.server.info_text(sections), session.protocol)]


@command("TIME", 1, "Returns the server's time: seconds and microseconds.", _GROUP)
def time_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return Unix time as two strings: seconds, and microseconds within the second."""
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
    subcommands=_CONFIG,
)
def config(session: Session, arguments: list[bytes]) -> Replies:
    """Return the settings whose names match a pattern, under fibserver's and Redis's names."""
    if arguments[0].upper() == b"HELP":
        return _CONFIG.help()
    patterns = [_glob(pattern) for pattern in arguments[1:]]
    return _matching_settings(session, patterns)


def _glob(pattern: bytes) -> Glob:
    if len(pattern) > MAX_PATTERN_BYTES:
        raise CommandError(f"pattern too long: at most {MAX_PATTERN_BYTES} bytes")
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
        "timeout": str(math.ceil(settings.idle_timeout)),  # clients parse an integer
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
    "Returns details about the supported commands.",
    _GROUP,
    (
        Argument("subcommand", "string", is_optional=True),
        Argument("name", "string", is_optional=True),
    ),
    subcommands=_COMMAND,
)
def command_(session: Session, arguments: list[bytes]) -> Replies:
    """Return data of the command table, as client libraries and redis-cli's help expect it."""
    if not arguments:
        return [_of_all_commands(b"INFO", session.protocol)]
    name, names = arguments[0].upper(), arguments[1:]
    if name == b"HELP":
        return _COMMAND.help()
    if not names and name != b"COUNT":
        return [_of_all_commands(name, session.protocol)]
    if name == b"LIST":
        return _filtered_names(names)
    return [encode(_command_value(name, names), session.protocol)]


@functools.cache
def _of_all_commands(subcommand: bytes, protocol: int) -> bytes:
    """Return a reply on all commands; clients share the object, so it takes memory once."""
    return encode(_command_value(subcommand, list(COMMANDS)), protocol)


def _command_value(subcommand: bytes, names: list[bytes]) -> Value:
    """Return the reply value of COUNT, LIST, INFO or DOCS for the named commands."""
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
    match [option.upper() for option in options[:-1]]:
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
    """Return the ACL categories of a command: those of its flags and of its group."""
    categories = ["@read", "@fast"]
    if entry.group in _GROUP_CATEGORIES:
        categories.append(_GROUP_CATEGORIES[entry.group])
    return categories


def _entry(entry: Command) -> Value:
    # No command has keys: first key, last key and step are 0. Redis 7 appends ACL categories,
    # tips, key specifications and subcommands.
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
