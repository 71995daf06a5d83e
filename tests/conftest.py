"""Fixtures that all tests share."""

import functools
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fibserver  # noqa: F401  # sets a variable of the environment, before tests compare it
from tests.support.scheduling import ModuleScheduling, import_own_share, longest_first
from tests.support.servers import RunningServer, start_server
from tests.support.signals import let_children_receive

PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin:/usr/sbin"])
"""Also the directories for administrators, where Debian has nginx and haproxy."""


def pytest_configure() -> None:
    """Start every child with the default action of every signal, without the user's settings."""
    let_children_receive()
    os.environ["FIBCLIENT_CONFIG"] = ""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Share the work of compiling the tests."""
    import_own_share(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling:
    """Keep the tests of a module on one worker."""
    return ModuleScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first."""
    longest_first(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the reasons for skipped tests, with the number of tests for each."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("skipped tests", "=")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")


@pytest.fixture(autouse=True)
def _unchanged_environment() -> Iterator[None]:
    """Fail a test that leaves the environment changed, which later tests would inherit."""
    before = _environment()
    yield
    assert _environment() == before


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Return a function that starts fibservers; SIGTERM must stop them at the end of the test."""
    started: list[RunningServer] = []
    numbers = itertools.count()

    def start(*arguments: str, under: Sequence[str] = (), **environment: str) -> RunningServer:
        log = tmp_path / f"fibserver-{next(numbers)}.log"
        server = start_server(log, *arguments, environment=environment, under=under)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A fibserver with default settings, shared by tests that do not change its state."""
    running = start_server(tmp_path_factory.mktemp("shared") / "fibserver.log")
    yield running
    assert running.stop() == 0


@functools.cache
def _program(name: str) -> str:
    path = shutil.which(name, path=PROGRAM_PATH)
    if path is None:
        missing(f"an installed {name}")
    return path


def missing(what: str) -> NoReturn:
    """Skip a test that lacks something; fail it in CI."""
    message = f"needs {what}"
    if os.environ.get("CI"):
        pytest.fail(message)  # CI has everything: a skip there hides a broken test
    pytest.skip(message)


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return a function that returns the path of a program, or skips the test without it."""
    return _program


@pytest.fixture
def mounting(program: Callable[[str], str]) -> Callable[[str], list[str]]:
    """Return a function that returns a command prefix with a mount of its own; needs root."""
    if os.geteuid() != 0:
        missing("root, to mount")

    def under(mount: str) -> list[str]:
        return [program("unshare"), "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]

    return under
