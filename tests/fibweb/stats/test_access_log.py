"""Tests for the access log."""

import http.client
import json
import logging
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from fibcommon.service.logs import configure_logging
from fibweb.stats.access_log import AccessLog
from fibweb.stats.access_record import AccessRecord
from tests.support.fibweb_process import COMMAND
from tests.support.servers import DEADLINE_SECONDS

EXCHANGE = AccessRecord(
    "GET", "/fib/10", 200, 65, 0.0000412, "127.0.0.1", "curl/8", "abc-1", "inline", "text/csv"
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Restore the log configuration."""
    root, access = logging.getLogger(), logging.getLogger("fibweb.access")
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, access.handlers, access.propagate = handlers, [], True
    root.setLevel(level)


def configured(format: str, *, is_on: bool = True, is_journal: bool = False) -> AccessLog:
    """Return an access log."""
    configure_logging("info", format, is_journal)
    log = AccessLog()
    log.configure(is_on=is_on, format=format)
    return log


def test_access_record_is_plain_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A plain line has all fields of the record, after the time."""
    configured("plain").write(EXCHANGE)
    time, _, line = capfd.readouterr().err.partition(" INFO fibweb.access: ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert line == '127.0.0.1 "GET /fib/10" 200 65 0.000041 inline abc-1 "curl/8"\n'


def test_access_record_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    """A JSON line has the same fields."""
    configured("json").write(EXCHANGE)
    fields = json.loads(capfd.readouterr().err)
    assert fields["logger"] == "fibweb.access"
    assert "message" not in fields
    assert fields.items() >= (EXCHANGE._asdict() | {"seconds": 0.000041}).items()


@pytest.mark.parametrize("format", ["plain", "json"])
def test_access_log_for_journal_has_priority(
    capfd: pytest.CaptureFixture[str], format: str
) -> None:
    """A line for the journal begins with its priority."""
    configured(format, is_journal=True).write(EXCHANGE)
    assert capfd.readouterr().err.startswith("<6>")


def test_access_log_has_no_rate_limit(capfd: pytest.CaptureFixture[str]) -> None:
    """The rate limit does not apply: a thousand requests have a thousand lines."""
    log = configured("plain")
    for _ in range(1000):
        log.write(EXCHANGE)
    assert capfd.readouterr().err.count("/fib/10") == 1000


NASTY = [
    '/" 200 1 0.1 ready x "\n2026 INFO forged',
    "/\r\nforged",
    "/\x1b[31mred\x00",
    "/\x85\u2028line",
    "/\\",
    "/é\udc80",
]


@pytest.mark.parametrize("format", ["plain", "json"])
@pytest.mark.parametrize("text", NASTY)
def test_client_text_cannot_forge_a_line(
    capfd: pytest.CaptureFixture[str], format: str, text: str
) -> None:
    """Any text from a client is escaped to one line of printable ASCII."""
    configured(format).write(EXCHANGE._replace(target=text, user_agent=text))
    written = capfd.readouterr().err
    assert re.fullmatch(r"[ -~]+\n", written)
    if format == "json":
        assert json.loads(written)["target"] == text
    else:
        quoted = re.findall(r'"(?:[^"\\]|\\.)*"', written)
        assert [json.loads(field) for field in quoted] == [f"GET {text}", text]


@pytest.mark.parametrize("format", ["plain", "json"])
def test_long_client_values_are_cut(capfd: pytest.CaptureFixture[str], format: str) -> None:
    """A long target or user agent is cut; the other fields remain."""
    long = EXCHANGE._replace(target="/" + "x" * 9000, user_agent="y" * 9000)
    configured(format).write(long)
    line = capfd.readouterr().err
    assert len(line) < 5000
    assert line.count("characters cut") == 2
    assert "abc-1" in line


def test_access_log_that_is_off_has_failures(capfd: pytest.CaptureFixture[str]) -> None:
    """While it is off, only failed requests are logged."""
    log = configured("plain", is_on=False)
    log.write(EXCHANGE)
    log.write(EXCHANGE._replace(status=404))
    assert capfd.readouterr().err == ""
    log.write(EXCHANGE._replace(status=503))
    line = capfd.readouterr().err
    assert "WARNING" in line
    assert "503" in line
    assert "abc-1" in line


def test_full_pipe_delays_nothing() -> None:
    """A full pipe delays neither responses nor the shutdown."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        env={**os.environ, "FIBWEB_ACCESS_LOG": "true"},
    ) as web:
        try:
            assert web.stdout is not None
            address = web.stdout.readline().split("http://")[1].strip()
            connection = http.client.HTTPConnection(address, timeout=DEADLINE_SECONDS)
            for _ in range(2000):
                connection.request("GET", "/healthz", headers={"User-Agent": "x" * 100})
                assert connection.getresponse().read() == b"alive\n"
            connection.close()
            web.terminate()
            assert web.wait(DEADLINE_SECONDS) == 0
        finally:
            web.kill()
            os.close(reader)
            os.close(writer)
