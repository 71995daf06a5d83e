"""One machine for all tests of this folder: an installation takes most of a minute."""

from collections.abc import Callable, Iterator

import pytest

from tests.systemd.guide import Guided, followed


@pytest.fixture(scope="package")
def guided(program: Callable[[str], str]) -> Iterator[Guided]:
    """A machine with all that the guide brings, and nothing else."""
    with followed(program) as machine:
        yield machine
