"""Logging: formats and the rate limit."""

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fibcommon.service.logs import (
    MAX_MESSAGE_CHARACTERS,
    MAX_TRACEBACK_CHARACTERS,
    RECORDS_PER_MINUTE,
    RateLimit,
    configure_logging,
)
from tests.support.servers import DEADLINE_SECONDS

Written = Callable[[], list[str]]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger; the configuration of the test is undone afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logging.getLogger("fibserver.test")
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str]) -> Written:
    """Return the lines that were written to standard error."""
    return lambda: capfd.readouterr().err.splitlines()


def log_a_failure(log: logging.Logger) -> None:
    """Log an error with its traceback."""
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        log.exception("it %s", "failed")


def test_log_line_is_plain(log: logging.Logger, written: Written) -> None:
    """A plain line has time, level, logger and message."""
    configure_logging("info", "plain", is_journal=False)
    log.info("ready on %s", "a:1")
    (line,) = written()
    assert re.fullmatch(f"{TIME} INFO fibserver.test: ready on a:1", line)


def test_plain_traceback_follows_its_line(log: logging.Logger, written: Written) -> None:
    """A traceback follows its line."""
    configure_logging("info", "plain", is_journal=False)
    log_a_failure(log)
    first, second, *_, last = written()
    assert first.endswith(" ERROR fibserver.test: it failed")
    assert second == "Traceback (most recent call last):"
    assert last == "news"


def test_log_line_is_json(log: logging.Logger, written: Written) -> None:
    """A JSON line has the same fields and the process id, in one object."""
    configure_logging("info", "json", is_journal=False)
    log.warning('a "%s"\n', "quote")
    (line,) = written()
    fields = json.loads(line)
    assert re.fullmatch(TIME, fields.pop("time"))
    assert fields == {
        "level": "warning",
        "logger": "fibserver.test",
        "message": 'a "quote"\n',
        "pid": os.getpid(),
    }


def test_json_traceback_is_a_field(log: logging.Logger, written: Written) -> None:
    """A traceback is a field of the JSON line."""
    configure_logging("info", "json", is_journal=False)
    log_a_failure(log)
    (line,) = written()
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: bad\nnews")


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)]
)
def test_journal_line_begins_with_priority(
    log: logging.Logger, written: Written, level: str, priority: int
) -> None:
    """A line for the journal begins with its priority and has no time."""
    configure_logging("debug", "plain", is_journal=True)
    log.log(getattr(logging, level.upper()), "ready")
    assert written() == [f"<{priority}>{level.upper()} fibserver.test: ready"]


def test_each_line_of_journal_traceback_has_priority(
    log: logging.Logger, written: Written
) -> None:
    """Every line of a traceback has the priority."""
    configure_logging("info", "plain", is_journal=True)
    log_a_failure(log)
    lines = written()
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("format", ["plain", "json"])
def test_long_records_are_cut(log: logging.Logger, written: Written, format: str) -> None:
    """Long messages are cut at the end, long tracebacks at the beginning."""
    configure_logging("info", format, is_journal=False)
    log.info("it %s", "x" * 100_000)
    try:
        raise ValueError("begin" + "y" * 100_000 + "end")
    except ValueError:
        log.exception("it failed")
    message, *traceback = written()
    assert "it xx" in message
    assert re.search(r"xx \[91811 characters cut\]", message)
    assert message.count("x") == MAX_MESSAGE_CHARACTERS - len("it ")
    text = "\n".join(traceback)
    assert re.search(r"\[9\d{4} characters cut\]", text)
    assert text.count("y") <= MAX_TRACEBACK_CHARACTERS
    assert "yyend" in text
    assert "begin" not in text


def test_log_call_with_wrong_arguments_is_reported(log: logging.Logger, written: Written) -> None:
    """A message with wrong arguments is reported, and its caller continues."""
    configure_logging("info", "plain", is_journal=True)
    log.info("%s and %s", 1)
    (line,) = written()
    assert line.startswith("<3>ERROR fibcommon.service.logs: cannot format '%s and %s': TypeError")


LOSE_LINES = """
    import logging, os, sys
    from fibcommon.service.logs import configure_logging
    configure_logging("info", sys.argv[1], True)
    log = logging.getLogger("test")
    for number in range(500):
        log.handle(log.makeRecord("test", 20, str(number), 0, "x" * 400, (), None))
    print("full", flush=True)
    input()
    log.info("again")
"""


@pytest.mark.parametrize("format", ["plain", "json"])
def test_lost_lines_are_counted(format: str) -> None:
    """A program whose log is not read continues, and the log reports the number of lost lines."""
    command = [sys.executable, "-c", textwrap.dedent(LOSE_LINES), format]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"full\n"
        found = os.read(child.stderr.fileno(), 2**16)
        child.stdin.write(b"\n")
        child.stdin.close()
        found += child.stderr.read()
    *whole, lost, again = found.decode().splitlines()
    match = re.match(r"<4>.*\b(\d+) lines of the log were lost: standard error was not read", lost)
    assert match
    assert len(whole) + int(match[1]) == 500
    assert "again" in again


def test_journal_json_begins_with_priority(log: logging.Logger, written: Written) -> None:
    """A JSON line for the journal begins with its priority."""
    configure_logging("info", "json", is_journal=True)
    log_a_failure(log)
    (line,) = written()
    assert line.startswith("<3>{")
    assert json.loads(line[3:])["message"] == "it failed"


def test_later_configuration_replaces_earlier(log: logging.Logger, written: Written) -> None:
    """A later call replaces the earlier one."""
    configure_logging("error", "json", is_journal=True)
    log.info("lost")
    configure_logging("info", "plain", is_journal=True)
    log.info("found")
    assert written() == ["<6>INFO fibserver.test: found"]


LOG_A_LINE = """
    import os, sys
    from fibcommon.service.logs import configure_logging

    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino + int(sys.argv[1])}"
    configure_logging("info", "plain")
    import logging
    child = os.fork()
    logging.getLogger("child" if child == 0 else "parent").info("here")
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("offset", "head"), [(0, "<6>"), (1, TIME + " ")])
def test_the_journal_is_recognised(tmp_path: Path, offset: int, head: str) -> None:
    """JOURNAL_STREAM is ignored after a redirection; a forked child logs the same way."""
    command = [sys.executable, "-c", textwrap.dedent(LOG_A_LINE), str(offset)]
    done = subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    child, parent = sorted(done.stderr.splitlines(), key=lambda line: line.split()[-2])
    assert re.fullmatch(f"{head}INFO child: here", child)
    assert re.fullmatch(f"{head}INFO parent: here", parent)


# The limit.


class Limited:
    """A rate-limited log with a clock of the test.

    Attributes:
        seconds: the time.
        lines: what got through.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.seconds = 1000.0
        self.lines: list[str] = []
        self._log = log
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        handler.addFilter(RateLimit(lambda: self.seconds))
        logging.getLogger().addHandler(handler)
        log.setLevel(logging.DEBUG)

    def write(
        self, template: str, times: int = 1, level: int = logging.WARNING, place: str = ""
    ) -> None:
        """Log a numbered message repeatedly, from its own or a given line of code."""
        for number in range(times):
            name, file = self._log.name, place or template
            self._log.handle(self._log.makeRecord(name, level, file, 1, template, (number,), None))


@pytest.fixture
def limited(log: logging.Logger) -> Limited:
    """A rate-limited log."""
    return Limited(log)


def test_ten_records_per_minute_are_logged(limited: Limited) -> None:
    """Ten records of a message per minute are logged; other messages are not affected."""
    limited.write("client %s", 25)
    limited.write("worker %s", 2, logging.INFO)
    assert limited.lines == [
        *(f"client {number}" for number in range(RECORDS_PER_MINUTE)),
        "worker 0",
        "worker 1",
    ]


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
def test_errors_are_limited_too(limited: Limited, level: int) -> None:
    """Errors are limited as well, because clients can cause them."""
    limited.write("failure %s", 100, level)
    assert len(limited.lines) == RECORDS_PER_MINUTE
    limited.seconds += 60
    limited.write("failure %s", 1, level)
    assert limited.lines[-2:] == ["90 more like this within a minute: failure %s", "failure 0"]


def test_number_of_suppressed_records_is_logged(limited: Limited) -> None:
    """After the minute, the next record of any message first reports the suppressed ones."""
    limited.write("client %s", 25)
    limited.write("worker %s", 10)
    limited.lines.clear()
    limited.seconds += 59
    limited.write("failure %s", 1, logging.ERROR)
    limited.seconds += 1
    limited.write("failure %s", 2, logging.ERROR)
    assert limited.lines == [
        "failure 0",
        "15 more like this within a minute: client %s",
        "failure 0",
        "failure 1",
    ]


def test_limit_starts_again_each_minute(limited: Limited) -> None:
    """A continuous flood is logged ten times in each minute."""
    for _ in range(3):
        limited.write("client %s", 11)
        limited.seconds += 60
    assert len(limited.lines) == 3 * RECORDS_PER_MINUTE + 2
    assert limited.lines[RECORDS_PER_MINUTE] == "1 more like this within a minute: client %s"


def test_messages_that_are_formatted_before(limited: Limited) -> None:
    """Different texts from the same line of code count as one message."""
    for number in range(100):
        limited.write(f"client {number}: %s", level=logging.ERROR, place="library.py")
    assert len(limited.lines) == RECORDS_PER_MINUTE
    limited.lines.clear()
    limited.seconds += 60
    limited.write("worker %s")
    assert limited.lines == ["90 more like this within a minute: client 0: %s", "worker 0"]


def test_one_thread_counts_at_a_time(log: logging.Logger) -> None:
    """Two threads do not report the same minute twice."""
    is_first = threading.Event()
    was_done: list[bool] = []

    def clock() -> float:
        if not is_first.is_set():
            is_first.set()
            other.start()
            was_done.append(done.wait(0.1))
        return 1000.0

    def log_something() -> None:
        limit.filter(record)
        done.set()

    record = log.makeRecord(log.name, logging.INFO, "", 0, "message", (), None)
    limit, done = RateLimit(clock), threading.Event()
    other = threading.Thread(target=log_something)
    limit.filter(record)
    other.join()
    assert was_done == [False]
    assert done.is_set()


def test_a_forked_child_counts_anew(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked worker does not report the suppressed records of its parent."""
    limited.write("client %s", 11)
    limited.lines.clear()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    limited.seconds += 60
    limited.write("worker %s")
    assert limited.lines == ["worker 0"]
