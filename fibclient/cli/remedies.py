"""Remedies for failures of a server or of the connection to it, in terms of the command line."""

from fibclient.errors import (
    DeadlineExceeded,
    FibError,
    NotFibserver,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
    SocketShortage,
)

__all__ = ["NO_PASSWORD", "TOO_MANY_CLIENTS", "UNWANTED_PASSWORD", "WRONG_PASSWORD", "remedy_for"]

NO_PASSWORD = "pass the password with --password-file FILE or FIBCLIENT_PASSWORD_FILE"
WRONG_PASSWORD = (
    "compare the first line of --password-file FILE with that of the server's password_file"
)
UNWANTED_PASSWORD = "omit --password-file, or set password_file on the server"
TOO_MANY_CLIENTS = "raise max_clients, or use fewer clients"

_DOCTOR = "see `fibclient doctor`"

_BY_ERROR = (
    ("NOAUTH ", NO_PASSWORD),
    ("WRONGPASS ", WRONG_PASSWORD),
    ("ERR AUTH <password> called without", UNWANTED_PASSWORD),
    ("ERR max number of clients", TOO_MANY_CLIENTS),
    # A Redis speaks the same protocol, but rejects fibserver's commands.
    ("ERR unknown command", f"this is not a fibserver, or another version of it: {_DOCTOR}"),
)
"""Remedies by the beginning of a server's error reply."""


def remedy_for(error: FibError) -> str:
    """Return what to do about a failure, or "" if its message names the remedy."""
    match error:
        case RequestRefused():
            text = str(error)
            if error.code == "LIMIT" and "max_index" in text:
                return "`fibclient digits N` has the first and last digits of larger numbers"
            return next((remedy for start, remedy in _BY_ERROR if text.startswith(start)), "")
        case NotFibserver():
            return ""
        case ServerMisbehaved():
            return f"this is not a fibserver, or another version of it: {_DOCTOR}"
        case SocketShortage():
            return "raise the limit of open files (`ulimit -n`)"
        case DeadlineExceeded():
            return f"allow more time with --timeout SECONDS, or {_DOCTOR}"
        case ServerUnreachable() if str(error).startswith("nothing received"):
            return f"its process may hang or be stopped: {_DOCTOR}"
        case ServerUnreachable() if str(error).startswith("cannot resolve"):
            return f"correct the name in --server or FIBCLIENT_SERVER; {_DOCTOR}"
        case ServerUnreachable():
            return (
                "check that fibserver runs there (`systemctl status fibserver`) and that --server "
                f"or FIBCLIENT_SERVER is its address; {_DOCTOR}"
            )
    return ""
