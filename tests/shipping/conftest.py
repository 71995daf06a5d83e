"""Fixtures of the tests of packages and images, which take minutes to build.

All tests of this folder have the marker `shipping`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shipping.packages import Packages, build, copy_repository
from tests.support.podman import Podman, private_podman

HERE = Path(__file__).parent

IMAGE = "localhost/fibservice"
"""The name in compose.yaml and in deploy/kubernetes."""


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


@pytest.fixture(scope="session")
def podman(program: Callable[[str], str]) -> Iterator[Podman]:
    """Podman with storage of its own, and with a base for images."""
    with private_podman(program) as podman:
        yield podman


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    """The image of this repository."""
    podman.build(IMAGE)
    return IMAGE
