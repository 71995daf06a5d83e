"""Connection commands: PING, AUTH, HELLO, SELECT, RESET and QUIT.

They reply as Redis 7 does, because client libraries are written against it.
"""

from fibserver.commands.client import client_word
from fibserver.commands.session import Session
from fibserver.commands.table import Argument, command
from fibserver.protocol.redis_version import REDIS_NAME, REDIS_VERSION
from fibserver.protocol.reply_encoding import (
    RESP2,
    RESP3,
    CommandError,
    Reply,
    Simple,
    Value,
    encode,
)
from fibserver.protocol.request_parser import printable

OK = Simple("OK")


def _reply(session: Session, value: Value) -> list[Reply]:
    return [encode(value, session.protocol)]


@command(
    "PING",
    -1,
    "Returns PONG, or the message.",
    arguments=(Argument("message", "string", is_optional=True),),
    needs_authentication=False,
)
def ping(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the message, or PONG as a simple string: health checks compare its bytes.

    A server that is stopping or unhealthy returns an error and closes the connection. Load
    balancers such as HAProxy would wait for more data if the connection stayed open. This check
    comes before authentication, so a health check needs no password: NOAUTH is the reply of a
    healthy server.
    """
    if session.server.unavailable_reason is not None:
        session.is_quitting = True
        code, message = session.server.unavailable_reason
        raise CommandError(message, code)
    if not session.is_authenticated and session.server.password is not None:
        raise CommandError("Authentication required.", "NOAUTH")
    if len(arguments) > 1:
        raise CommandError("wrong number of arguments for 'ping' command")
    return _reply(session, arguments[0] if arguments else Simple("PONG"))


@command("ECHO", 2, "Returns the message.", arguments=(Argument("message", "string"),))
def echo(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return the message."""
    return _reply(session, arguments[0])


@command("QUIT", -1, "Closes the connection.", is_queued=False, needs_authentication=False)
def quit_(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return OK and close the connection; later requests are discarded."""
    session.is_quitting = True
    return _reply(session, OK)


@command(
    "RESET",
    1,
    "Returns the connection to the state of a new one.",
    is_queued=False,
    needs_authentication=False,
)
def reset(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Reset name, protocol, tracking, authentication and transaction."""
    session.reset()
    return _reply(session, Simple("RESET"))


@command("SELECT", 2, "Selects the only database, 0.", arguments=(Argument("index"),))
def select(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Return OK for database 0, an error for any other."""
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
    needs_authentication=False,
)
def auth(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Check the password; the only user is `default`."""
    if len(arguments) > 2:
        raise CommandError("syntax error")
    _authenticate(session, arguments)
    return _reply(session, OK)


def _authenticate(session: Session, credentials: list[bytes]) -> None:
    """Check `credentials`, [user,] password, and mark the session as authenticated."""
    password = session.server.password
    if password is None:
        if len(credentials) == 1:
            raise CommandError(
                "AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?"
            )
        is_right = True  # as in Redis, any password is valid if none is configured
    else:
        # Its import loads OpenSSL, in 5 ms; many servers have no password.
        from hmac import compare_digest

        is_right = compare_digest(credentials[-1], password)
    if not is_right or credentials[:-1] not in ([], [b"default"]):
        raise CommandError("invalid username-password pair or user is disabled.", "WRONGPASS")
    session.is_authenticated = True


@command(
    "HELLO",
    -1,
    "Switches the protocol and describes the server.",
    arguments=(
        Argument("protover", is_optional=True),
        Argument("username_password", "string", token="AUTH", is_optional=True),
        Argument("clientname", "string", token="SETNAME", is_optional=True),
    ),
    needs_authentication=False,
)
def hello(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Switch the protocol, and return Redis's seven server properties in its order."""
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
                _authenticate(session, rest[1:3])
                rest = rest[3:]
            elif option == b"SETNAME" and len(rest) >= 2:
                name = client_word(rest[1], "Client names")
                rest = rest[2:]
            else:
                raise CommandError(f"Syntax error in HELLO option {printable(rest[0])}")
    if not session.is_authenticated:
        raise CommandError(
            "HELLO must be called with the client already authenticated, otherwise the HELLO "
            "<proto> AUTH <user> <pass> option can be used to authenticate the client and "
            "select the RESP protocol version at the same time",
            "NOAUTH",
        )
    session.protocol = protocol
    if name is not None:
        session.name = name
    return _reply(
        session,
        {
            "server": REDIS_NAME,
            "version": REDIS_VERSION,
            "proto": protocol,
            "id": session.client_id,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        },
    )
