"""CLIENT: what clients say of themselves, and what there is to know about all of them."""

from collections.abc import Callable
from typing import TypeAlias

from fibserver.commands.table import Argument, command
from fibserver.replies import CommandError, Reply, Simple, Value, encode
from fibserver.request_parser import printable
from fibserver.session import ClientFacts, Session

_OK = Simple("OK")

_ARITIES = {
    b"SETINFO": 3,
    b"SETNAME": 2,
    b"GETNAME": 1,
    b"ID": 1,
    b"INFO": 1,
    b"NO-EVICT": 2,
    b"NO-TOUCH": 2,
}
"""The subcommands that take a fixed number of words, their own included."""


@command(
    "CLIENT",
    -2,
    "Says or asks about this connection, or about all.",
    arguments=(
        Argument("subcommand", "string"),
        Argument("value", "string", is_optional=True),
    ),
)
def client(session: Session, arguments: list[bytes]) -> list[Reply]:
    """Answer the subcommands that libraries send when they connect, and those of operators."""
    subcommand = arguments[0].upper()
    if len(arguments) != _ARITIES.get(subcommand, len(arguments)):
        name = subcommand.decode().lower()
        raise CommandError(f"wrong number of arguments for 'client|{name}' command")
    value: Value = _OK
    match subcommand, *arguments[1:]:
        case b"SETINFO", attribute, text:
            _set_library(session, attribute.upper(), text)
        case b"SETNAME", text:
            session.name = client_word(text, "Client names")
        case (b"GETNAME",):
            value = session.name or None
        case (b"ID",):
            value = session.client_id
        case (b"INFO",):
            value = _line(session.server.client(session.client_id))
        case b"LIST", *options:
            value = "".join(_line(each) for each in _matching(session, options))
        case b"KILL", *options:
            value = _kill(session, options)
        case ((b"NO-EVICT" | b"NO-TOUCH"), _):
            pass  # nothing is evicted for a client here
        case _:
            name = printable(arguments[0])
            raise CommandError(f"unknown subcommand {name}. Try CLIENT HELP.")
    return [encode(value, session.protocol)]


def client_word(value: bytes, what: str) -> str:
    """Return a client's word; blanks would break the lines of CLIENT LIST.

    Args:
        value: the word.
        what: what it is, for the error.
    """
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


def _line(facts: ClientFacts) -> str:
    """Return a client's line, with Redis's names for what it says."""
    session = facts.session
    queued = -1 if session.transaction is None else len(session.transaction)
    flags = "x" if session.is_in_transaction else "N"
    return (
        f"id={session.client_id} addr={session.address} laddr={facts.local_address} "
        f"fd={facts.fd} name={session.name} age={facts.age_seconds} "
        f"idle={facts.idle_seconds} flags={flags} db=0 sub=0 psub=0 ssub=0 multi={queued} "
        f"qbuf={facts.received_bytes} oll={facts.output_pieces} omem={facts.output_bytes} "
        f"events={facts.events} cmd={session.last_command} user=default "
        f"resp={session.protocol} lib-name={session.library_name} "
        f"lib-ver={session.library_version}\n"
    )


def _kill(session: Session, options: list[bytes]) -> Value:
    """Close the connections that match; one's own ends after the reply."""
    is_old_form = len(options) == 1
    if not options:
        raise CommandError("wrong number of arguments for 'client|kill' command")
    if is_old_form:
        options = [b"ADDR", options[0], b"SKIPME", b"no"]
    victims = [each.session for each in _matching(session, options, skips_self=True)]
    for victim in victims:
        if victim is session:
            session.is_quitting = True
        else:
            session.server.close_client(victim.client_id)
    if not is_old_form:
        return len(victims)
    if not victims:
        raise CommandError("No such client")
    return _OK


_Test: TypeAlias = Callable[[ClientFacts], bool]


def _matching(
    session: Session, options: list[bytes], skips_self: bool = False
) -> list[ClientFacts]:
    """Return the clients for which all options hold.

    Args:
        session: who asks.
        options: names and values in turn.
        skips_self: whether who asks is left out, if SKIPME does not say.
    """
    if len(options) % 2:
        raise CommandError("syntax error")
    tests: list[_Test] = []
    for name, value in zip(options[::2], options[1::2], strict=True):
        if name.upper() == b"SKIPME":
            skips_self = _is_yes(value)
        else:
            tests.append(_test(name.upper(), value.decode("ascii", "replace")))
    return [
        each
        for each in session.server.clients()
        if all(holds(each) for holds in tests) and not (skips_self and each.session is session)
    ]


def _test(name: bytes, value: str) -> _Test:
    match name:
        case b"ID" if value.isdecimal():
            number = int(value)
            return lambda each: each.session.client_id == number
        case b"ID":
            raise CommandError("client-id should be greater than 0")
        case b"ADDR":
            return lambda each: each.session.address == value
        case b"LADDR":
            return lambda each: each.local_address == value
        case b"USER":
            return lambda each: value == "default"
        case b"TYPE" if value.lower() in ("normal", "master", "replica", "slave", "pubsub"):
            return lambda each: value.lower() == "normal"
        case b"TYPE":
            raise CommandError(f"Unknown client type {printable(value.encode())}")
    raise CommandError("syntax error")


def _is_yes(value: bytes) -> bool:
    if value.lower() not in (b"yes", b"no"):
        raise CommandError("syntax error")
    return value.lower() == b"yes"
