"""Logging to standard error, as plain text or JSON, with or without systemd's journal.

The journal records the time of each line, and reads its priority from a prefix (sd-daemon(3)). So
plain lines for the journal have no time.

Forked workers inherit the set-up and write to the same standard error. Each record is one write,
so records do not mix. No write waits for the reader (`nonblocking_output`).

A client can cause the same log message a million times. So each log statement, errors included, is
limited to a few records per minute. The number of suppressed records is logged with the first
record after that minute. Long messages and tracebacks are truncated.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fibcommon.service.nonblocking_output import STANDARD_ERROR, NonBlockingOutput

__all__ = ["RateLimit", "StandardErrorHandler", "configure_logging", "shortened"]

log = logging.getLogger(__name__)

RECORDS_PER_MINUTE = 10
MINUTE_SECONDS = 60
MAX_MESSAGE_CHARACTERS = 8192
MAX_TRACEBACK_CHARACTERS = 4096

SUPPRESSED = "%s more like this within a minute: %s"
LOST = "%s lines of the log were lost: standard error was not read"
UNFORMATTABLE = "cannot format %s: %s"

PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
DEBUG_PRIORITY = 7


def configure_logging(level: str, format: str, is_journal: bool | None = None) -> None:
    """Configure the root logger; may be called again.

    Args:
        level: Minimum level: debug, info, warning or error.
        format: `plain` or `json`.
        is_journal: Whether systemd's journal reads standard error; None detects it.
    """
    if is_journal is None:
        is_journal = _is_journal(os.environ.get("JOURNAL_STREAM", ""))
    formatter: logging.Formatter
    if format == "json":
        formatter = JsonFormatter()
    else:
        head = "" if is_journal else "%(asctime)s "
        formatter = PlainFormatter(f"{head}%(levelname)s %(name)s: %(message)s")
    handler = StandardErrorHandler()
    handler.setFormatter(JournalFormatter(formatter) if is_journal else formatter)
    handler.addFilter(RateLimit())
    _output.configure(handler.lost_line)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


_output = NonBlockingOutput(STANDARD_ERROR)
os.register_at_fork(after_in_child=_output.after_fork)


class StandardErrorHandler(logging.Handler):
    """Handler that writes records to standard error without blocking."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self._line(record)
        except Exception as error:  # an invalid log call must not fail its caller
            log.error(UNFORMATTABLE, repr(record.msg), repr(error))
        else:
            _output.write(line)

    def flush(self) -> None:
        """Try to write pending output."""
        _output.flush()

    def lost_line(self, count: int) -> bytes:
        """Return the line that reports a number of lost lines."""
        return self._line(log.makeRecord(log.name, logging.WARNING, "", 0, LOST, (count,), None))

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace") + b"\n"


class _CutFormatter(logging.Formatter):
    """Formatter that keeps only the end of long tracebacks, which is the most useful part."""

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802
        """Return a traceback, or its end if it is long."""
        text = super().formatException(ei)
        cut = len(text) - MAX_TRACEBACK_CHARACTERS
        return text if cut <= 0 else f"[{cut} characters cut]\n{text[cut:]}"


class PlainFormatter(_CutFormatter):
    """Formatter of plain text: time, level, logger and message, then any traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return a record without its traceback."""
        record.message = shortened(record.message, MAX_MESSAGE_CHARACTERS)
        return super().formatMessage(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a record in the format of RFC 3339."""
        return _rfc3339(record.created)


class JsonFormatter(_CutFormatter):
    """Formatter of JSON lines: one object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        fields = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shortened(record.getMessage(), MAX_MESSAGE_CHARACTERS),
            "pid": record.process,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class JournalFormatter(logging.Formatter):
    """Formatter for systemd's journal, which prefixes the lines of another one with a priority."""

    def __init__(self, formatter: logging.Formatter) -> None:
        """Wrap the formatter that returns the lines."""
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return a record with its priority before every line."""
        priority = next(
            (number for level, number in PRIORITIES if record.levelno >= level), DEBUG_PRIORITY
        )
        # For the journal only a line feed ends a line.
        lines = self._formatter.format(record).split("\n")
        return "\n".join(f"<{priority}>{line}" for line in lines)


@dataclass(slots=True)
class _Window:
    """Records of one log statement within a minute."""

    end: float
    level: int
    message: str
    passed: int = 0
    suppressed: int = 0


class RateLimit(logging.Filter):
    """Filter that passes ten records of each log statement per minute and reports the others.

    A statement is identified by its file and line, not by its message: waitress formats messages
    before it logs them, so their texts differ for each client.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without any record counted.

        Args:
            clock: Returns the monotonic time in seconds.
        """
        super().__init__()
        self._clock = clock
        self._start_counting()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        if record.msg == SUPPRESSED:
            return True
        if self._pid != os.getpid():
            self._start_counting()  # a forked child; the parent reports its own records
        with self._lock:
            return self._passes(record)

    def _start_counting(self) -> None:
        self._windows: dict[tuple[str, int], _Window] = {}  # by file and line, oldest first
        self._lock = threading.RLock()  # reentrant: reports pass this filter too
        self._pid = os.getpid()

    def _passes(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        self._close_windows(now)
        statement = record.pathname, record.lineno
        window = self._windows.get(statement)
        if window is None:
            end = now + MINUTE_SECONDS
            window = self._windows[statement] = _Window(end, record.levelno, str(record.msg))
        if window.passed == RECORDS_PER_MINUTE:
            window.suppressed += 1
            return False
        window.passed += 1
        return True

    def _close_windows(self, now: float) -> None:
        while self._windows:
            statement, window = next(iter(self._windows.items()))
            if window.end > now:
                return
            del self._windows[statement]
            if window.suppressed:
                log.log(window.level, SUPPRESSED, window.suppressed, window.message)


def shortened(text: str, max_characters: int) -> str:
    """Return a text; if it is too long, its beginning and the number of characters cut."""
    cut = len(text) - max_characters
    return text if cut <= 0 else f"{text[:max_characters]} [{cut} characters cut]"


def _rfc3339(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _is_journal(stream: str) -> bool:
    """Whether JOURNAL_STREAM is standard error, which may have been redirected since."""
    try:
        status = os.fstat(STANDARD_ERROR)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
