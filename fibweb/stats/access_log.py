"""The access log: a line for each answered request, plain or JSON, beside the rest of the log.

It is not rate-limited, as the rest is: who turns it on wants each line. But it never waits
for its reader, so lines that nobody reads are lost, and counted as any others. A line cannot be
made by a client: what clients say is quoted, cut, and everything but printable ASCII escaped.

    127.0.0.1 "GET /fib/10" 200 68 0.000041 replay 3f2a-1c "curl/8.5.0"

These are the client, the request, the code, the bytes of the body, the seconds, the handling, the
request's id and the client's name.
"""

import json
import logging

from fibcommon.service.logs import (
    JournalFormatter,
    JsonFormatter,
    StandardErrorHandler,
    shortened,
)
from fibweb.stats.access_record import AccessRecord

__all__ = ["AccessLog"]

log = logging.getLogger(__name__)
access = logging.getLogger("fibweb.access")

MAX_TEXT_CHARACTERS = 2048
"""Of what a client chooses; headers may be longer, and escaping takes up to six for one."""


class AccessLog:
    """Writes exchanges, if that is wanted; failures of the service in any case."""

    def __init__(self) -> None:
        """Start with the access log off."""
        self._is_on = False

    def configure(self, *, is_on: bool, format: str) -> None:
        """Turn it on or off, once the rest of the log is configured.

        Args:
            is_on: whether to write all exchanges.
            format: plain or json.
        """
        access.handlers = [_handler(format)]
        access.setLevel(logging.INFO)
        access.propagate = False
        self._is_on = is_on

    def write(self, exchange: AccessRecord) -> None:
        """Write an exchange."""
        if self._is_on:
            access.info("%s", _plain(exchange), extra={"exchange": exchange})
        elif exchange.status >= 500:
            log.warning("failed: %s", _plain(exchange))


class _JsonAccessFormatter(JsonFormatter):
    """Exchanges for programs: the fields of any record but its message, then its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        fields = json.loads(super().format(record))
        del fields["message"]
        exchange: AccessRecord = record.__dict__["exchange"]
        own = {
            "target": shortened(exchange.target, MAX_TEXT_CHARACTERS),
            "user_agent": shortened(exchange.user_agent, MAX_TEXT_CHARACTERS),
            "seconds": round(exchange.seconds, 6),
        }
        return json.dumps(fields | exchange._asdict() | own)


def _handler(format: str) -> logging.Handler:
    """Return a handler that writes as the root logger's does, without its rate limit."""
    formatter = logging.getLogger().handlers[0].formatter
    if format == "json":
        fields = _JsonAccessFormatter()
        is_journal = isinstance(formatter, JournalFormatter)
        formatter = JournalFormatter(fields) if is_journal else fields
    handler = StandardErrorHandler()
    handler.setFormatter(formatter)
    return handler


def _plain(exchange: AccessRecord) -> str:
    request = _quoted(f"{exchange.method} {shortened(exchange.target, MAX_TEXT_CHARACTERS)}")
    return (
        f"{exchange.client} {request} {exchange.status} {exchange.body_bytes} "
        f"{exchange.seconds:.6f} {exchange.handling} {exchange.request_id} "
        f"{_quoted(shortened(exchange.user_agent, MAX_TEXT_CHARACTERS))}"
    )


def _quoted(text: str) -> str:
    """Return a text in quotes, with all escaped that could end them or a line."""
    return json.dumps(text)
