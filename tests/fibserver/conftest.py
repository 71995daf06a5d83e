"""Fixtures of the tests of fibserver."""

from collections.abc import Iterator

import pytest

from tests.fibserver.small_machine import small_blocks


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Blocks of 16 KiB, while the tests of a module run that ask for this."""
    with small_blocks():
        yield
