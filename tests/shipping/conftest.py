"""Fixtures of the tests of packages; all tests of this folder have the marker `shipping`."""

from pathlib import Path

import pytest

from tests.shipping.packages import Packages, build, copy_repository

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.shipping)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The sdist and the wheel, built from a copy of this repository."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    copy_repository(source)
    return build(source, folder / "dist")
