"""Commands about the connection itself: what clients say before and between requests.

They answer as Redis 7 does, since that is what client libraries were written against.
"""

from fibserver.commands.table import Argument, command
from fibserver.replies import (
    RESP2,
    RESP3,
    CommandError,
    Reply,
    Simple,
    Value,
    encode,
)
from fibserver.request_parser import printable
from fibserver.session import Session

REDIS_VERSION = "7.0.15"
"""The version of Redis whose protocol this server speaks; clients choose features by it."""

OK = Simple("OK")


def _reply(session: Session, value: Value) -> list[Reply]:
    return [encode(value, session.protocol)]


@command(
    "PING",
    -1,
    "Returns PONG, or the message.",
    arguments=(Argument("message", "string", is_optional=True),),
)
def ping(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer PONG as a simple string: health checks compare its bytes."""
    if len(arguments) > 1:
        raise CommandError("wrong number of arguments for 'ping' command")
    return _reply(session, arguments[0] if arguments else Simple("PONG"))


@command("ECHO", 2, "Returns the message.", arguments=(Argument("message", "string"),))
def echo(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer the message."""
    return _reply(session, arguments[0])


@command("QUIT", -1, "Closes the connection.", is_queued=False)
def quit_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer OK; what was sent behind this request is dropped."""
    session.is_quitting = True
    return _reply(session, OK)


@command("RESET", 1, "Returns the connection to the state of a new one.", is_queued=False)
def reset(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Forget name, protocol and transaction."""
    session.reset()
    return _reply(session, Simple("RESET"))


@command("SELECT", 2, "Selects the only database, 0.", arguments=(Argument("index"),))
def select(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer OK for database 0."""
    if not arguments[0].isdigit():
        raise CommandError("value is not an integer or out of range")
    if int(arguments[0]) != 0:
        raise CommandError("DB index is out of range")
    return _reply(session, OK)


@command(
    "AUTH",
    -2,
    "Authenticates the connection.",
    arguments=(
        Argument("username", "string", is_optional=True),
        Argument("password", "string"),
    ),
)
def auth(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer as Redis does where no password is set."""
    if len(arguments) > 2:
        raise CommandError("syntax error")
    _authenticate(arguments)
    return _reply(session, OK)


def _authenticate(credentials: list[bytes]) -> None:
    """Accept the default user, who has no password; `credentials` is [user,] password."""
    if len(credentials) == 1:
        raise CommandError(
            "AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    if credentials[0] != b"default":
        raise CommandError("invalid username-password pair or user is disabled.", "WRONGPASS")


@command(
    "HELLO",
    -1,
    "Switches the protocol and describes the server.",
    arguments=(
        Argument("protover", is_optional=True),
        Argument("username_password", "string", token="AUTH", is_optional=True),
        Argument("clientname", "string", token="SETNAME", is_optional=True),
    ),
)
def hello(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer the seven facts that Redis answers, in its order."""
    protocol = session.protocol
    name = None
    if arguments:
        if arguments[0] not in (b"2", b"3"):
            if not arguments[0].isdigit():
                raise CommandError("Protocol version is not an integer or out of range")
            raise CommandError("unsupported protocol version", "NOPROTO")
        protocol = RESP3 if arguments[0] == b"3" else RESP2
        rest = arguments[1:]
        while rest:
            option = rest[0].upper()
            if option == b"AUTH" and len(rest) >= 3:
                _authenticate(rest[1:3])
                rest = rest[3:]
            elif option == b"SETNAME" and len(rest) >= 2:
                name = _client_name(rest[1])
                rest = rest[2:]
            else:
                raise CommandError(f"Syntax error in HELLO option {printable(rest[0])}")
    session.protocol = protocol
    if name is not None:
        session.name = name
    return _reply(
        session,
        {
            "server": "fibserver",
            "version": REDIS_VERSION,
            "proto": protocol,
            "id": session.client_id,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        },
    )


@command(
    "CLIENT",
    -2,
    "Says or asks about this connection.",
    arguments=(
        Argument("subcommand", "string"),
        Argument("value", "string", is_optional=True),
    ),
)
def client(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer the subcommands that libraries send when they connect."""
    match arguments[0].upper(), *arguments[1:]:
        case b"SETINFO", attribute, value:
            _set_library(session, attribute.upper(), value)
            return _reply(session, OK)
        case b"SETNAME", name:
            session.name = _client_name(name)
            return _reply(session, OK)
        case (b"GETNAME",):
            return _reply(session, session.name or None)
        case (b"ID",):
            return _reply(session, session.client_id)
        case (b"INFO",):
            return _reply(session, _client_line(session))
        case b"NO-EVICT", _:
            return _reply(session, OK)
        case ((b"SETINFO" | b"SETNAME" | b"GETNAME" | b"ID" | b"INFO" | b"NO-EVICT"), *_):
            subcommand = arguments[0].decode().lower()
            raise CommandError(f"wrong number of arguments for 'client|{subcommand}' command")
    raise CommandError(f"unknown subcommand {printable(arguments[0])}. Try CLIENT HELP.")


def _client_line(session: Session) -> str:
    return (
        f"id={session.client_id} addr={session.address} name={session.name} "
        f"resp={session.protocol} lib-name={session.library_name} "
        f"lib-ver={session.library_version}\n"
    )


def _set_library(session: Session, attribute: bytes, value: bytes) -> None:
    if attribute == b"LIB-NAME":
        session.library_name = _word(value, "LIB-NAME")
    elif attribute == b"LIB-VER":
        session.library_version = _word(value, "LIB-VER")
    else:
        raise CommandError(f"Unrecognized option {printable(attribute)}")


def _client_name(value: bytes) -> str:
    return _word(value, "Client names")


def _word(value: bytes, what: str) -> str:
    """Return a client's word; blanks would break the lines of CLIENT INFO."""
    if any(not 0x21 <= byte <= 0x7E for byte in value):
        raise CommandError(f"{what} cannot contain spaces, newlines or special characters.")
    return value.decode("ascii")
