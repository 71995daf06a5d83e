"""CLIENT TRACKING state for clients with a cache of their own.

Redis notifies such clients when a key changes. Nothing changes here, so the server records and
reports the options, but never sends a notification. It validates them as Redis does, so that
client bugs show up with this server too.
"""

from fibserver.commands.session import Session, Tracking
from fibserver.protocol.reply_encoding import CommandError, Value

__all__ = ["report", "set_caching", "set_tracking"]

_MODES = (b"BCAST", b"OPTIN", b"OPTOUT", b"NOLOOP")


def set_tracking(session: Session, switch: bytes, options: list[bytes]) -> None:
    """Turn tracking on or off.

    Args:
        session: Session of the client.
        switch: ON or OFF, case-insensitive.
        options: Arguments after it.

    Raises:
        CommandError: The switch, an option or a redirection is invalid, or conflicts with another
            option or with the current ones.
    """
    wanted = _parse(session, options)
    match switch.upper():
        case b"ON":
            _check(wanted, session.tracking)
            session.tracking = wanted
        case b"OFF":
            session.tracking = None
        case _:
            raise CommandError("syntax error")


def _parse(session: Session, options: list[bytes]) -> Tracking:
    modes: list[str] = []
    prefixes: list[bytes] = []
    redirect = 0
    rest = list(options)
    while rest:
        name = rest.pop(0).upper()
        if name in _MODES:
            modes.append(name.decode().lower())
        elif name == b"PREFIX" and rest:
            prefixes.append(rest.pop(0))
        elif name == b"REDIRECT" and rest:
            if redirect:
                raise CommandError("A client can only redirect to a single other client")
            redirect = _client_id(session, rest.pop(0))
        else:
            raise CommandError("syntax error")
    return Tracking(frozenset(modes), redirect, tuple(prefixes))


def _client_id(session: Session, value: bytes) -> int:
    if not value.isdigit():
        raise CommandError("value is not an integer or out of range")
    if session.server.client(int(value)) is None:
        raise CommandError("The client ID you want redirect to does not exist")
    return int(value)


def _check(wanted: Tracking, current: Tracking | None) -> None:
    """Raise CommandError if options conflict with each other or with the current ones."""
    modes = wanted.modes
    if wanted.prefixes and "bcast" not in modes:
        raise CommandError("PREFIX option requires BCAST mode to be enabled")
    if "bcast" in modes and modes & {"optin", "optout"}:
        raise CommandError("OPTIN and OPTOUT are not compatible with BCAST")
    if {"optin", "optout"} <= modes:
        raise CommandError("You can't specify both OPTIN mode and OPTOUT mode")
    if current is None:
        return
    again = (
        "before disabling tracking for this client, and then re-enabling it with a different mode."
    )
    if ("bcast" in modes) != ("bcast" in current.modes):
        raise CommandError(f"You can't switch BCAST mode on/off {again}")
    if {"optin", "optout"} <= modes | current.modes:
        raise CommandError(f"You can't switch OPTIN/OPTOUT mode {again}")


def set_caching(session: Session, switch: bytes) -> None:
    """Accept CLIENT CACHING; it has no effect, since nothing is invalidated.

    Args:
        session: Session of the client.
        switch: YES or NO, case-insensitive.

    Raises:
        CommandError: The switch is invalid, or needs another tracking mode.
    """
    modes = session.tracking.modes if session.tracking else frozenset()
    if not modes & {"optin", "optout"}:
        raise CommandError(
            "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
            "OPTOUT mode enabled"
        )
    needed = {b"YES": "optin", b"NO": "optout"}.get(switch.upper())
    if needed is None:
        raise CommandError("syntax error")
    if needed not in modes:
        raise CommandError(
            f"CLIENT CACHING {switch.upper().decode()} is only valid when tracking is enabled in "
            f"{needed.upper()} mode."
        )


def report(session: Session) -> dict[str, Value]:
    """Return the reply value of CLIENT TRACKINGINFO."""
    tracking = session.tracking
    if tracking is None:
        return {"flags": ["off"], "redirect": -1, "prefixes": []}
    names = [mode.decode().lower() for mode in _MODES]
    flags: list[Value] = ["on", *(name for name in names if name in tracking.modes)]
    return {"flags": flags, "redirect": tracking.redirect, "prefixes": tracking.prefixes}
