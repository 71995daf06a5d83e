"""Recognition of other network services by the first bytes that they send."""

__all__ = ["DEFAULT_PORT_HINT", "service_of"]

DEFAULT_PORT_HINT = "fibserver's default port is 11235"

_SERVICES = (
    ((b"HTTP/", b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), "a web server"),
    ((b"\x15\x03", b"\x16\x03"), "a TLS server"),
    ((b"SSH-",), "an SSH server"),
    ((b"220 ", b"220-"), "a mail or FTP server"),
)


def service_of(beginning: bytes) -> str:
    """Return the name of a service with its article, or "" if it is unknown.

    Args:
        beginning: First bytes that it sent.
    """
    for beginnings, service in _SERVICES:
        if beginning.startswith(beginnings):
            return service
    return ""
