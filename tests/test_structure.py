"""The structure of the code: arrows between packages, and pure parts that stay pure."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fibclient", "fibserver", "fibweb")

ALLOWED = {
    "fibclient": {"fibclient"},
    "fibserver": {"fibserver", "fibclient"},
    "fibweb": {"fibweb", "fibclient"},
}

PURE = [
    "fibclient/address.py",
    "fibclient/errors.py",
    "fibclient/formats.py",
    "fibclient/resp.py",
    "fibclient/sizes.py",
    "fibserver/arithmetic.py",
    "fibserver/fair_queue.py",
    "fibserver/growth.py",
    "fibserver/layout.py",
    "fibserver/rendering.py",
    "fibserver/replay.py",
    "fibserver/replies.py",
    "fibserver/request_parser.py",
    "fibserver/session.py",
    "fibserver/statistics.py",
    "fibserver/commands/connection.py",
    "fibserver/commands/sequence.py",
    "fibserver/commands/table.py",
    "fibserver/commands/transaction.py",
]

MECHANISM = {"multiprocessing", "os", "select", "signal", "socket", "threading", "time"}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_at_the_client(package: str) -> None:
    """fibweb and fibserver import fibclient, and nothing imports either of them."""
    for path in (ROOT / package).rglob("*.py"):
        ours = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
        assert ours <= ALLOWED[package], path


@pytest.mark.parametrize("path", PURE)
def test_pure_parts_know_no_system(path: str) -> None:
    """Arithmetic, sizes, formats, parsing and planning import no sockets, processes or clocks."""
    names = {name.split(".")[0] for name in imports(ROOT / path)}
    assert not names & MECHANISM


def test_the_library_needs_only_the_standard_library() -> None:
    """fibclient, its command line aside, has no dependency."""
    for path in (ROOT / "fibclient").glob("*.py"):
        if path.name not in ("cli.py", "__main__.py"):
            third_party = {"click", "falcon", "psutil", "pydantic", "rich", "waitress"}
            assert not {name.split(".")[0] for name in imports(path)} & third_party
