"""CLIENT command: names, listing and closing of client connections."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from fibserver.commands.session import UNIX_ADDRESS, ClientInfo, Session
from fibserver.commands.subcommands import Subcommand, Subcommands
from fibserver.commands.table import Argument, Replies, command
from fibserver.commands.tracking import report, set_caching, set_tracking
from fibserver.core.listings import LINES_PER_STEP
from fibserver.protocol.reply_encoding import CommandError, Reply, Simple, Value, encode
from fibserver.protocol.request_parser import printable

MAX_WORD_BYTES = 128
"""Maximum length of a client or library name; CLIENT LIST repeats it on every line."""

_OK = Simple("OK")

_SUBCOMMANDS = Subcommands(
    "CLIENT",
    {
        b"CACHING": Subcommand(
            2,
            "(YES|NO)",
            ("Accepted in OPTIN mode (YES) and in OPTOUT mode (NO); has no effect.",),
        ),
        b"GETREDIR": Subcommand(
            1, "", ("Return the client ID that notifications are redirected to.",)
        ),
        b"GETNAME": Subcommand(1, "", ("Return the name of the current connection.",)),
        b"ID": Subcommand(1, "", ("Return the ID of the current connection.",)),
        b"INFO": Subcommand(1, "", ("Return information about the current connection.",)),
        b"KILL": Subcommand(
            -2,
            "(<ip:port>|<option> <value> [<option> <value> [...]])",
            (
                "Close connections. Options are:",
                "* ID <client-id> [<client-id> ...]",
                "* ADDR (<ip:port>|unix:0)",
                "* LADDR (<ip:port>|unix:0)",
                "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
                "* USER <username>",
                "* MAXAGE <seconds>",
                "* SKIPME (YES|NO)",
                "  Skip the current connection (default: yes).",
            ),
        ),
        b"LIST": Subcommand(
            -1,
            "[<option> <value> [<option> <value> [...]]]",
            ("Return information about connections. Accepts the options of KILL.",),
        ),
        b"NO-EVICT": Subcommand(2, "(ON|OFF)", ("Accepted; has no effect.",)),
        b"NO-TOUCH": Subcommand(2, "(ON|OFF)", ("Accepted; has no effect.",)),
        b"SETINFO": Subcommand(
            3, "(LIB-NAME|LIB-VER) <value>", ("Set the name or version of the client library.",)
        ),
        b"SETNAME": Subcommand(
            2, "<name>", ("Assign the name <name> to the current connection.",)
        ),
        b"TRACKING": Subcommand(
            -2,
            "(ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
            ("Enable or disable client side caching; no key is ever invalidated.",),
        ),
        b"TRACKINGINFO": Subcommand(
            1, "", ("Return the tracking status of the current connection.",)
        ),
    },
)


@command(
    "CLIENT",
    -2,
    "Inspects and manages client connections.",
    arguments=(
        Argument("subcommand", "string"),
        Argument("value", "string", is_optional=True),
    ),
    subcommands=_SUBCOMMANDS,
)
def client(session: Session, arguments: list[bytes]) -> Replies:
    """Run a subcommand: client libraries send some on connect, operators send the others."""
    value: Value = _OK
    match arguments[0].upper(), *arguments[1:]:
        case (b"HELP",):
            return _SUBCOMMANDS.help()
        case b"SETINFO", attribute, text:
            _set_library(session, attribute.upper(), text)
        case b"SETNAME", text:
            session.name = client_word(text, "Client names")
        case (b"GETNAME",):
            value = session.name or None
        case (b"ID",):
            value = session.client_id
        case (b"INFO",):
            info = session.server.client(session.client_id)
            value = _line(info) if info else ""
        case b"LIST", *options:
            return _list(session, options)
        case b"KILL", *options:
            return _kill(session, options)
        case b"TRACKING", switch, *options:
            set_tracking(session, switch, options)
        case b"CACHING", switch:
            set_caching(session, switch)
        case (b"GETREDIR",):
            value = _redirect(session)
        case (b"TRACKINGINFO",):
            value = report(session)
        case ((b"NO-EVICT" | b"NO-TOUCH"), switch):
            # Client libraries send these; they have no effect here.
            if switch.upper() not in (b"ON", b"OFF"):
                raise CommandError("syntax error")
    return [encode(value, session.protocol)]


def client_word(value: bytes, what: str) -> str:
    """Decode a name that a client sent; a space would break the lines of CLIENT LIST.

    Args:
        value: The name.
        what: What the name is, as the subject of the error message.

    Raises:
        CommandError: The name is too long, or has other than printable ASCII characters.
    """
    if len(value) > MAX_WORD_BYTES:
        raise CommandError(f"{what} cannot be longer than {MAX_WORD_BYTES} bytes.")
    if any(not 0x21 <= byte <= 0x7E for byte in value):
        raise CommandError(f"{what} cannot contain spaces, newlines or special characters.")
    return value.decode("ascii")


def _set_library(session: Session, attribute: bytes, value: bytes) -> None:
    if attribute == b"LIB-NAME":
        session.library_name = client_word(value, "LIB-NAME")
    elif attribute == b"LIB-VER":
        session.library_version = client_word(value, "LIB-VER")
    else:
        raise CommandError(f"Unrecognized option {printable(attribute)}")


def _redirect(session: Session) -> int:
    return session.tracking.redirect if session.tracking else -1


def _line(client: ClientInfo) -> str:
    """Return the line of a client: the fields of Redis 7.4, in its order.

    The sizes of reply and argument buffers are 0: replies have no fixed-size buffer, and requests
    are parsed in place.
    """
    session = client.session
    queued = -1 if session.transaction is None else len(session.transaction)
    return (
        f"id={session.client_id} addr={session.address} laddr={client.local_address} "
        f"fd={client.fd} name={session.name} age={client.age_seconds} "
        f"idle={client.idle_seconds} flags={_flags(client)} db=0 sub=0 psub=0 ssub=0 "
        f"multi={queued} watch=0 qbuf={client.received_bytes} qbuf-free=0 argv-mem=0 "
        f"multi-mem={session.transaction_bytes} rbs=0 rbp=0 obl=0 oll={client.output_pieces} "
        f"omem={client.output_bytes} tot-mem={client.memory_bytes} events={client.events} "
        f"cmd={session.last_command} user=default redir={_redirect(session)} "
        f"resp={session.protocol} lib-name={session.library_name} "
        f"lib-ver={session.library_version}\n"
    )


def _flags(client: ClientInfo) -> str:
    """Return Redis's flag letters for a client, or `N` if no flag is set."""
    session = client.session
    modes = session.tracking.modes if session.tracking else frozenset()
    flags = (
        ("x", session.is_in_transaction),
        ("b", client.is_waiting),
        ("t", session.tracking is not None),
        ("B", "bcast" in modes),
        ("c", session.is_quitting),
        ("U", session.address == UNIX_ADDRESS),
    )
    return "".join(letter for letter, is_set in flags if is_set) or "N"


def _list(session: Session, options: list[bytes]) -> Replies:
    """Return the lines of the matching clients."""
    selection = _Selection(session, options)

    def lines() -> Iterator[str]:
        return (_line(info) if selection.matches(info) else "" for info in selection.candidates())

    if selection.is_by_id:
        return [encode("".join(lines()))]
    return session.server.listings.read(selection.key, lines)


def _kill(session: Session, options: list[bytes]) -> Iterator[Reply]:
    """Close the matching connections; the caller's own closes after the reply."""
    if len(options) == 1:
        selection = _Selection(session, [b"ADDR", options[0]])
        return _close(session, selection, is_old_form=True)
    selection = _Selection(session, options, skips_self=True)
    if selection.has_id(0):  # as in Redis: an error here, but not in CLIENT LIST
        raise CommandError("client-id should be greater than 0")
    return _close(session, selection, is_old_form=False)


def _close(session: Session, selection: "_Selection", *, is_old_form: bool) -> Iterator[Reply]:
    victims = 0
    for number, info in enumerate(selection.candidates(), 1):
        if selection.matches(info):
            victims += 1
            if info.session is session:
                session.is_quitting = True
            else:
                session.server.close_client(info.session.client_id)
        if number % LINES_PER_STEP == 0:
            yield b""
    if not is_old_form:
        yield encode(victims)
    elif victims:
        yield encode(_OK)
    else:
        raise CommandError("No such client")


_Test: TypeAlias = Callable[[ClientInfo], bool]


class _Selection:
    """Filter of clients, from the options of CLIENT LIST and CLIENT KILL.

    Attributes:
        key: Filters with equal keys select the same clients.
    """

    def __init__(self, session: Session, options: list[bytes], skips_self: bool = False) -> None:
        """Parse the options.

        Args:
            session: Session of the client that sent the command.
            options: Alternating names and values; ID may have several values.
            skips_self: Whether to exclude that client if there is no SKIPME.

        Raises:
            CommandError: An option or a value is invalid.
        """
        self._server = session.server
        self._ids: dict[int, None] | None = None
        self._tests: list[_Test] = []
        rest = list(options)
        while rest:
            name = rest.pop(0).upper()
            if not rest:
                raise CommandError("syntax error")
            if name == b"ID":
                self._ids = self._ids or {}
                self._ids[_client_id(rest.pop(0))] = None
                while rest and rest[0].isdigit():
                    self._ids[_client_id(rest.pop(0))] = None
            elif name == b"SKIPME":
                skips_self = _is_yes(rest.pop(0))
            else:
                self._tests.append(_test(name, rest.pop(0).decode("ascii", "replace")))
        self._skipped = session if skips_self else None
        self.key = (*options, self._skipped)

    @property
    def is_by_id(self) -> bool:
        """Whether the options name clients by ID, so that there are few candidates."""
        return self._ids is not None

    def has_id(self, client_id: int) -> bool:
        """Whether the options name a client by this ID."""
        return self._ids is not None and client_id in self._ids

    def candidates(self) -> Iterator[ClientInfo]:
        """Return the clients to test: those with the given IDs, or all."""
        if self._ids is None:
            return iter(self._server.clients())
        return filter(None, map(self._server.client, self._ids))

    def matches(self, info: ClientInfo) -> bool:
        """Return whether a candidate passes all tests and is not excluded."""
        return info.session is not self._skipped and all(test(info) for test in self._tests)


def _client_id(value: bytes) -> int:
    if not value.isdigit():
        raise CommandError("client-id should be greater than 0")
    return int(value)


def _test(name: bytes, value: str) -> _Test:
    match name:
        case b"ADDR":
            return lambda info: info.session.address == value
        case b"LADDR":
            return lambda info: info.local_address == value
        case b"USER":
            if value != "default":
                raise CommandError(f"No such user {printable(value.encode())}")
            return lambda info: True
        case b"MAXAGE":
            if not value.isdigit():
                raise CommandError("maxage is not an integer or out of range")
            return lambda info: info.age_seconds >= int(value)
        case b"TYPE" if value.lower() in ("normal", "master", "replica", "slave", "pubsub"):
            return lambda info: value.lower() == "normal"
        case b"TYPE":
            raise CommandError(f"Unknown client type {printable(value.encode())}")
    raise CommandError("syntax error")


def _is_yes(value: bytes) -> bool:
    if value.lower() not in (b"yes", b"no"):
        raise CommandError("syntax error")
    return value.lower() == b"yes"
