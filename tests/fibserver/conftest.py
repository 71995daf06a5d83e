"""Fixtures for the tests of fibserver."""

from collections.abc import Iterator

import pytest

from tests.support.small_engine import small_blocks


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Use blocks of 16 KiB in the tests of a module."""
    with small_blocks():
        yield
