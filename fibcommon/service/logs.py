"""The log: lines on standard error, for people, for programs or for systemd's journal.

The journal knows the time and the process of a line, and takes its priority from a number in
front of it (sd-daemon(3)), so a plain line leaves out what would be there twice.

Workers inherit the set-up when they are forked, and write to the same standard error; a record
is one write, so records do not mix. No write waits for the reader (`log_output`).

What a client does may be logged, and a client can do it a million times. So each line of the code
that logs something, errors included, does so a few times a minute, and what was left out is
counted and reported: when the minute is over, as soon as anything at all is logged. Long messages
and tracebacks are cut.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fibcommon.service.log_output import STANDARD_ERROR, NonBlockingOutput

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
    handler = StandardErrorHandler()
    handler.setFormatter(JournalFormatter(formatter) if is_journal else formatter)
    handler.addFilter(RateLimit())
    _output.configure(handler.lost_line)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


_output = NonBlockingOutput(STANDARD_ERROR)
os.register_at_fork(after_in_child=_output.after_fork)


class StandardErrorHandler(logging.Handler):
    """Writes records to standard error, and never waits for whoever reads it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self._line(record)
        except Exception as error:  # a bad log call is no reason to fail its caller
            log.error(UNFORMATTABLE, repr(record.msg), repr(error))
        else:
            _output.write(line)

    def flush(self) -> None:
        """Write what an earlier write could not, if that is possible by now."""
        _output.flush()

    def lost_line(self, count: int) -> bytes:
        """Return the line that reports how many lines were lost."""
        return self._line(log.makeRecord(log.name, logging.WARNING, "", 0, LOST, (count,), None))

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace") + b"\n"


class _CutFormatter(logging.Formatter):
    """Cuts tracebacks, whose end says the most."""

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802
        """Return the end of a traceback."""
        text = super().formatException(ei)
        cut = len(text) - MAX_TRACEBACK_CHARACTERS
        return text if cut <= 0 else f"[{cut} characters cut]\n{text[cut:]}"


class PlainFormatter(_CutFormatter):
    """Lines for people: time, level, logger and message, then any traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return a record without its traceback."""
        record.message = shortened(record.message, MAX_MESSAGE_CHARACTERS)
        return super().formatMessage(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a record as RFC 3339 has it."""
        return _rfc3339(record.created)


class JsonFormatter(_CutFormatter):
    """Lines for programs: one JSON object for each record."""

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
    """A minute of one line of the code."""

    end: float
    level: int
    message: str
    passed: int = 0
    suppressed: int = 0


class RateLimit(logging.Filter):
    """Lets ten records of a message through in a minute, and reports how many it did not.

    Messages are told apart by where the code logs them, not by their texts: waitress formats its
    messages before it logs them, so each client would have one of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted.

        Args:
            clock: the time in seconds, for tests.
        """
        super().__init__()
        self._clock = clock
        self._start_counting()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        if record.msg == SUPPRESSED:
            return True
        if self._pid != os.getpid():
            self._start_counting()  # a forked child: the parent tells of what it left out
        with self._lock:
            return self._passes(record)

    def _start_counting(self) -> None:
        self._windows: dict[tuple[str, int], _Window] = {}  # by files and lines; in their order
        self._lock = threading.RLock()  # reporting what was left out comes back here
        self._pid = os.getpid()

    def _passes(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        self._close_windows(now)
        place = record.pathname, record.lineno
        window = self._windows.get(place)
        if window is None:
            end = now + MINUTE_SECONDS
            window = self._windows[place] = _Window(end, record.levelno, str(record.msg))
        if window.passed == RECORDS_PER_MINUTE:
            window.suppressed += 1
            return False
        window.passed += 1
        return True

    def _close_windows(self, now: float) -> None:
        while self._windows:
            place, window = next(iter(self._windows.items()))
            if window.end > now:
                return
            del self._windows[place]
            if window.suppressed:
                log.log(window.level, SUPPRESSED, window.suppressed, window.message)


def shortened(text: str, max_characters: int) -> str:
    """Return a text, or its beginning and how much of it was cut."""
    cut = len(text) - max_characters
    return text if cut <= 0 else f"{text[:max_characters]} [{cut} characters cut]"


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
