"""Distribution of tests to the workers of pytest-xdist, and their order.

A worker gets whole modules, because the tests of a module share fixtures such as a browser or a
Prometheus, which two workers would start twice. The longest modules start first, so that the
workers end together.
"""

import contextlib
import importlib

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

__all__ = ["ModuleScheduling", "import_own_share", "longest_first"]

PACKAGES = ("tests/systemd", "tests/fibweb/page")
"""Folders whose modules share a fixture, so that one worker runs them."""

LONGEST = (
    "tests/systemd",
    "tests/fibweb/page",
    "tests/deploy/test_several_hosts.py",
    "tests/fibserver/test_any_size.py",
    "tests/fibserver/test_reliability.py",
    "tests/fibserver/test_restart.py",
    "tests/fibserver/test_operating.py",
    "tests/fibweb/test_downloads.py",
    "tests/deploy",
    "tests/fibclient/test_many_servers.py",
)
"""Modules and folders to start with, the longest first."""


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Assigns modules to workers, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return next((package for package in PACKAGES if module.startswith(f"{package}/")), module)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests in place; those of equal rank keep their order."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    for rank, path in enumerate(LONGEST):
        if item.nodeid.startswith(path):
            return rank
    return len(LONGEST)


def import_own_share(config: pytest.Config) -> None:
    """Import every n-th test module, on the n-th worker of a run of all tests.

    All workers collect all modules, at the same time and in the same order. Most of that time goes
    into compiling modules for the first time. If the workers begin with different modules, each
    module is compiled by one worker and loaded by the others.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in sorted(config.rootpath.glob("tests/**/test_*.py"))[number::count]:
        with contextlib.suppress(Exception):  # reported by the collection
            importlib.import_module(
                ".".join(path.relative_to(config.rootpath).with_suffix("").parts)
            )
