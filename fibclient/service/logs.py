"""The log: lines on standard error, for people, for programs or for systemd's journal.

The journal knows the time and the process of a line, and takes its priority from a number in
front of it (sd-daemon(3)), so a plain line leaves out what would be there twice.

Workers inherit the set-up when they are forked, and write to the same standard error; a record
is one write, so records do not mix.

What a client does may be logged, and a client can do it a million times. So below ERROR each
message is logged a few times a minute, and what was left out is counted and told: when the
minute is over, as soon as anything at all is logged.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["RateLimit", "configure_logging"]

log = logging.getLogger(__name__)

RECORDS_PER_MINUTE = 10
MINUTE_SECONDS = 60
MAX_MESSAGES = 1000
"""How many messages are counted at a time, should one be put together instead of a template."""

SUPPRESSED = "%s more like this within a minute: %s"

STANDARD_ERROR = 2
PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
DEBUG_PRIORITY = 7


def configure_logging(level: str, format: str, is_journal: bool | None = None) -> None:
    """Set up the log, or set it up anew.

    Args:
        level: the least important one to log: debug, info, warning or error.
        format: plain or json.
        is_journal: whether systemd's journal reads standard error; None finds out.
    """
    if is_journal is None:
        is_journal = _is_journal(os.environ.get("JOURNAL_STREAM", ""))
    formatter: logging.Formatter
    if format == "json":
        formatter = JsonFormatter()
    else:
        head = "" if is_journal else "%(asctime)s "
        formatter = PlainFormatter(f"{head}%(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(JournalFormatter(formatter) if is_journal else formatter)
    handler.addFilter(RateLimit())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class PlainFormatter(logging.Formatter):
    """Lines for people: time, level, logger and message, then any traceback."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a record as RFC 3339 has it."""
        return _rfc3339(record.created)


class JsonFormatter(logging.Formatter):
    """Lines for programs: one JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        fields = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class JournalFormatter(logging.Formatter):
    """Lines for systemd's journal: those of another formatter, each with its priority."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return a record with a priority before every line of it."""
        priority = next(
            (number for level, number in PRIORITIES if record.levelno >= level), DEBUG_PRIORITY
        )
        # Only a line feed ends a line to the journal.
        lines = self._formatter.format(record).split("\n")
        return "\n".join(f"<{priority}>{line}" for line in lines)


@dataclass(slots=True)
class _Window:
    """A minute of one message."""

    end: float
    level: int
    passed: int = 0
    suppressed: int = 0


class RateLimit(logging.Filter):
    """Lets ten records of a message through in a minute, and tells how many it did not.

    A message is the template, as the code has it, whatever is filled in. Errors always pass:
    they are few, or they are what the log is for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted.

        Args:
            clock: the time in seconds, for tests.
        """
        super().__init__()
        self._clock = clock
        self._windows: dict[str, _Window] = {}  # by their ends
        self._pid = os.getpid()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        if record.msg == SUPPRESSED:
            return True
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._windows.clear()  # a forked child: the parent tells of what it left out
        now = self._clock()
        self._close_windows(now)
        if record.levelno >= logging.ERROR:
            return True
        window = self._window(str(record.msg), record.levelno, now)
        if window.passed == RECORDS_PER_MINUTE:
            window.suppressed += 1
            return False
        window.passed += 1
        return True

    def _window(self, message: str, level: int, now: float) -> _Window:
        window = self._windows.get(message)
        if window is None:
            window = self._windows[message] = _Window(now + MINUTE_SECONDS, level)
        return window

    def _close_windows(self, now: float) -> None:
        while self._windows:
            message, window = next(iter(self._windows.items()))
            if window.end > now and len(self._windows) < MAX_MESSAGES:
                return
            del self._windows[message]
            if window.suppressed:
                log.log(window.level, SUPPRESSED, window.suppressed, message)


def _rfc3339(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _is_journal(stream: str) -> bool:
    """Return whether JOURNAL_STREAM names standard error, and not what it was before a pipe."""
    try:
        status = os.fstat(STANDARD_ERROR)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
