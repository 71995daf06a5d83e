"""Fixtures for the tests of fibweb."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fibweb_process import start_fibweb
from tests.support.servers import RunningServer


@pytest.fixture
def serve_web(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start fibwebs; at the end of the test SIGTERM must stop them and leave no processes."""
    started: list[RunningServer] = []
    numbers = itertools.count()

    def start(*arguments: str, **environment: str) -> RunningServer:
        web = start_fibweb(tmp_path / f"fibweb-{next(numbers)}.log", *arguments, **environment)
        started.append(web)
        return web

    yield start
    for web in started:
        web.stop()
