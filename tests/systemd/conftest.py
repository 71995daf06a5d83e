"""One machine for all tests of this folder, since an installation takes most of a minute."""

from collections.abc import Callable, Iterator

import pytest

from tests.systemd.guide import Guided, followed


@pytest.fixture(scope="package")
def guided(program: Callable[[str], str]) -> Iterator[Guided]:
    """A machine on which the guide was followed."""
    with followed(program) as machine:
        yield machine
