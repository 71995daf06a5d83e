"""Access log: one line on standard error for each response, plain or JSON.

Unlike the rest of the log it has no rate limit. It never waits for its reader either: lines that
are not read are dropped and counted. Clients cannot inject lines: texts from clients are quoted,
truncated and escaped to printable ASCII.

    127.0.0.1 "GET /fib/10" 200 68 0.000041 cached 3f2a-1c "curl/8.5.0"

The fields are the client, the request, the status, the bytes of the body, the seconds, the
handling, the request id and the user agent.
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
"""Limit of a text from a client, before escaping, which can multiply it by six."""


class AccessLog:
    """Writer of access records. While it is off, it logs only responses of 500 and above."""

    def __init__(self) -> None:
        """Start with the log off."""
        self._is_on = False

    def configure(self, *, is_on: bool, format: str) -> None:
        """Turn the log on or off. Call this after `configure_logging`.

        Args:
            is_on: Whether to write all records.
            format: `plain` or `json`.
        """
        access.handlers = [_handler(format)]
        access.setLevel(logging.INFO)
        access.propagate = False
        self._is_on = is_on

    def write(self, entry: AccessRecord) -> None:
        """Write a record."""
        if self._is_on:
            access.info("%s", _plain(entry), extra={"entry": entry})
        elif entry.status >= 500:
            log.warning("failed: %s", _plain(entry))


class _JsonAccessFormatter(JsonFormatter):
    """Formatter of JSON lines: the common fields without the message, then the access record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        fields = json.loads(super().format(record))
        del fields["message"]
        entry: AccessRecord = record.__dict__["entry"]
        limited = {
            "target": shortened(entry.target, MAX_TEXT_CHARACTERS),
            "user_agent": shortened(entry.user_agent, MAX_TEXT_CHARACTERS),
            "seconds": round(entry.seconds, 6),
        }
        return json.dumps(fields | entry._asdict() | limited)


def _handler(format: str) -> logging.Handler:
    """Return a handler like that of the root logger, without the rate limit."""
    formatter = logging.getLogger().handlers[0].formatter
    if format == "json":
        fields = _JsonAccessFormatter()
        is_journal = isinstance(formatter, JournalFormatter)
        formatter = JournalFormatter(fields) if is_journal else fields
    handler = StandardErrorHandler()
    handler.setFormatter(formatter)
    return handler


def _plain(entry: AccessRecord) -> str:
    request = _quoted(f"{entry.method} {shortened(entry.target, MAX_TEXT_CHARACTERS)}")
    return (
        f"{entry.client} {request} {entry.status} {entry.body_bytes} "
        f"{entry.seconds:.6f} {entry.handling} {entry.request_id} "
        f"{_quoted(shortened(entry.user_agent, MAX_TEXT_CHARACTERS))}"
    )


def _quoted(text: str) -> str:
    """Return a text in quotes, with quotes, control characters and non-ASCII escaped."""
    return json.dumps(text)
