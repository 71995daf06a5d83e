"""Fixtures that all tests share."""

import functools
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import RunningServer, start_server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start fibservers that end with the test: SIGTERM must suffice, and leave nothing."""
    started: list[RunningServer] = []
    numbers = itertools.count()

    def start(*arguments: str, **environment: str) -> RunningServer:
        log = tmp_path / f"fibserver-{next(numbers)}.log"
        server = start_server(log, *arguments, environment=environment)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A fibserver with default settings, shared by tests that only ask it for numbers."""
    running = start_server(tmp_path_factory.mktemp("shared") / "fibserver.log")
    yield running
    assert running.stop() == 0


@functools.cache
def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)  # CI installs every peer: a skip there hides a broken test
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of an installed program, such as redis-cli; skips the test without it."""
    return _program
