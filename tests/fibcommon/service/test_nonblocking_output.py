"""Log output without a reader: writes do not block, and lost lines are reported."""

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fibcommon.service.nonblocking_output import NonBlockingOutput
from tests.support.servers import DEADLINE_SECONDS
from tests.support.waiting import wait_until

LINE = b"x" * 99 + b"\n"


class PipeReader:
    """The other end of a log.

    Attributes:
        descriptor: to read from.
        writer: what the log gets.
    """

    def __init__(self, descriptor: int, writer: int) -> None:
        self.descriptor = descriptor
        self.writer = writer

    def read(self) -> bytes:
        """Return the available bytes."""
        os.set_blocking(self.descriptor, False)
        pieces = []
        try:
            while piece := os.read(self.descriptor, 2**16):
                pieces.append(piece)
        except BlockingIOError:
            pass
        return b"".join(pieces)


def open_pipe() -> PipeReader:
    """Return a pipe."""
    return PipeReader(*os.pipe())


def open_socket() -> PipeReader:
    """Return a pair of stream sockets, like that of the journal."""
    ours, theirs = socket.socketpair()
    return PipeReader(ours.detach(), theirs.detach())


def open_terminal() -> PipeReader:
    """Return a terminal that does not change the bytes."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return PipeReader(ours, theirs)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Fail the test if a write blocks."""

    def interrupt(*_: object) -> None:
        raise AssertionError("a write waited")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(DEADLINE_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def deny_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny the opening of descriptors through /proc."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)


OPENERS = {"pipe": open_pipe, "pipe of another user": open_pipe}
OPENERS |= {"socket": open_socket, "terminal": open_terminal}


@pytest.fixture(params=OPENERS)
def reader(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PipeReader]:
    """The other end of a log, not read so far."""
    found = OPENERS[request.param]()
    if "another" in request.param:
        deny_opening(monkeypatch)
    yield found
    os.close(found.descriptor)
    os.close(found.writer)


def output_for(descriptor: int) -> NonBlockingOutput:
    """Return an output that reports lost lines."""
    output = NonBlockingOutput(descriptor)
    output.configure(lambda count: b"%d lost\n" % count)
    return output


def written_and_lost(text: bytes) -> int:
    """Return the number of lines written or reported as lost; fail if a line is incomplete."""
    count = 0
    for line in text.splitlines(keepends=True):
        assert line == LINE or line.endswith(b" lost\n")
        count += 1 if line == LINE else int(line.removesuffix(b" lost\n"))
    return count


def test_lines_are_dropped_while_pipe_is_full(reader: PipeReader) -> None:
    """Whole lines are dropped while the pipe is full; then their number is written."""
    output = output_for(reader.writer)
    for _ in range(10_000):
        output.write(LINE)
    assert not fcntl.fcntl(reader.writer, fcntl.F_GETFL) & os.O_NONBLOCK
    text = b""

    def has_been_read() -> bool:
        nonlocal text
        text += reader.read()
        output.flush()  # reports lost lines without another line
        return text.endswith(b"lost\n")

    wait_until(has_been_read, "the losses reported")
    assert written_and_lost(text) == 10_000
    output.write(LINE)
    wait_until(lambda: reader.read() == LINE, "another line")
    output.close()


def test_long_line_is_completed_later(reader: PipeReader) -> None:
    """A line that does not fit is completed when the reader reads."""
    output = output_for(reader.writer)
    for _ in range(1000):
        output.write(LINE)
    reader.read()
    line = b"y" * 300_000 + b"\n"
    output.write(line)
    text = b""

    def has_come() -> bool:
        nonlocal text
        text += reader.read()
        output.flush()
        return text.endswith(b"y\n")

    wait_until(has_come, "the end of the line")
    assert text.endswith(b"\n" + line)
    output.close()


@pytest.mark.parametrize("make", [open_pipe, open_socket, open_terminal])
def test_write_without_reader_does_not_raise(make: Callable[[], PipeReader]) -> None:
    """Writing without a reader raises nothing."""
    reader = make()
    output = output_for(reader.writer)
    output.write(LINE)
    os.close(reader.descriptor)
    output.write(LINE)
    output.flush()
    output.close()
    os.close(reader.writer)


def test_write_to_closed_descriptor_does_not_raise() -> None:
    """Writing to a closed descriptor raises nothing."""
    reader = open_pipe()
    os.close(reader.descriptor)
    os.close(reader.writer)
    output_for(reader.writer).write(LINE)


def test_shared_file_is_written_at_its_end(tmp_path: Path) -> None:
    """Lines are written at the shared position of a file, not at its beginning."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        file.write(b"first\n")
        output = output_for(file.fileno())
        output.write(b"second\n")
        file.write(b"third\n")
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\nthird\n"


def test_lines_of_threads_do_not_mix(reader: PipeReader) -> None:
    """Lines of several threads do not mix."""
    output = output_for(reader.writer)

    def log_much() -> None:
        for _ in range(500):
            output.write(LINE)

    threads = [threading.Thread(target=log_much, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    text = b""

    def has_come() -> bool:
        nonlocal text
        text += reader.read()
        output.flush()
        return text.endswith(b"\n") and written_and_lost(text) == 2000

    wait_until(has_come, "all lines")
    for thread in threads:
        thread.join()
    output.close()


# In a process of its own: forks, and descriptors that are closed.


def run(program: str, stderr: int) -> bytes:
    """Run a program that logs, and return its output; fail if it does not end."""
    text = "import logging, os, sys\n" + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return done.stdout


LOG_A_LOT = """
    from fibcommon.service.logs import configure_logging
    configure_logging("info", "plain", False)
    log = logging.getLogger("test")
    for number in range(3000):
        log.info(f"{number} " + "x" * 100)
    child = os.fork()
    for number in range(3000):
        log.info(f"{number} " + "x" * 100)
    if child:
        os.waitpid(child, 0)
    print("done", flush=True)
"""


def test_processes_sharing_a_pipe_do_not_block() -> None:
    """A parent and a child that share a pipe without a reader do not block."""
    reader = open_pipe()
    assert run(LOG_A_LOT, reader.writer) == b"done\n" * 2
    os.close(reader.descriptor)
    os.close(reader.writer)


WORKER = """
    from fibcommon.service.logs import configure_logging
    configure_logging("info", "plain", True)
    log = logging.getLogger("test")
    log.info("parent")
    if not os.fork():
        os.closerange(3, 100)
        others = os.pipe(), os.pipe()
        log.info("child")
        os.set_blocking(others[0][0], False)
        os.set_blocking(others[1][0], False)
        for reader, _ in others:
            try:
                print(os.read(reader, 100), flush=True)
            except BlockingIOError:
                pass
        os._exit(0)
    os.wait()
"""


def test_forked_child_logs_to_standard_error() -> None:
    """A forked child logs to standard error, not to a file that reuses a closed descriptor."""
    reader = open_pipe()
    assert run(WORKER, reader.writer) == b""
    assert reader.read() == b"<6>INFO test: parent\n<6>INFO test: child\n"
    os.close(reader.descriptor)
    os.close(reader.writer)


CLOSED = """
    os.close(2)
    program = 'import sys; file = open(sys.argv[1], "wb"); assert file.fileno() == 2\\n'
    program += 'from fibcommon.service.logs import configure_logging\\n'
    program += 'configure_logging("info", "plain")\\n'
    program += 'import logging; logging.warning("lost")\\n'
    os.execv(sys.executable, [sys.executable, "-c", program, "PATH"])
"""


def test_standard_error_is_closed_at_the_start(tmp_path: Path) -> None:
    """Another file that has descriptor 2 receives no log lines."""
    path = tmp_path / "file"
    run(CLOSED.replace("PATH", str(path)), subprocess.DEVNULL)
    assert path.read_bytes() == b""
