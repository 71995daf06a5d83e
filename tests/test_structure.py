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
    "fibclient/answers.py",
    "fibclient/costs.py",
    "fibclient/endpoints.py",
    "fibclient/errors.py",
    "fibclient/formats.py",
    "fibclient/hedging.py",
    "fibclient/information.py",
    "fibclient/other_services.py",
    "fibclient/resp.py",
    "fibclient/retry.py",
    "fibclient/sizes.py",
    "fibclient/service/host_header.py",
    "fibclient/service/problem_details.py",
    "fibclient/cli/answer_checker.py",
    "fibclient/cli/findings.py",
    "fibclient/cli/health.py",
    "fibclient/cli/latency.py",
    "fibclient/cli/reading.py",
    "fibclient/cli/residues.py",
    "fibclient/cli/shortening.py",
    "fibclient/cli/units.py",
    "fibweb/byte_ranges.py",
    "fibweb/conditions.py",
    "fibweb/cors.py",
    "fibweb/counts.py",
    "fibweb/fetch.py",
    "fibweb/figures.py",
    "fibweb/http/admission.py",
    "fibweb/http/fetch_queue.py",
    "fibweb/http/held_bytes.py",
    "fibweb/mounting.py",
    "fibweb/negotiation.py",
    "fibweb/openapi_parts.py",
    "fibweb/parameters.py",
    "fibweb/representations.py",
    "fibweb/restarts.py",
    "fibserver/arithmetic.py",
    "fibserver/blocks.py",
    "fibserver/fair_queue.py",
    "fibserver/growth.py",
    "fibserver/lanes.py",
    "fibserver/layout.py",
    "fibserver/listings.py",
    "fibserver/overload.py",
    "fibserver/rendering.py",
    "fibserver/replay.py",
    "fibserver/replies.py",
    "fibserver/request_parser.py",
    "fibserver/session.py",
    "fibserver/slow_log.py",
    "fibserver/statistics.py",
    "fibserver/commands/client.py",
    "fibserver/commands/connection.py",
    "fibserver/commands/monitoring.py",
    "fibserver/commands/patterns.py",
    "fibserver/commands/sequence.py",
    "fibserver/commands/subcommands.py",
    "fibserver/commands/table.py",
    "fibserver/commands/tracking.py",
    "fibserver/commands/transaction.py",
]

MECHANISM = {
    "mmap",
    "multiprocessing",
    "os",
    "resource",
    "select",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}

VALUES = {"fibserver.settings"}
"""What pure parts may know beside each other: it reads files, but they only hold its values."""

WALL_CLOCK = {
    "fibserver/information.py": "INFO tells when it is, and when was last saved",
    "fibserver/metrics.py": "Prometheus wants to know when the server was started",
    "fibserver/conversation.py": "an entry of the slow log says when",
    "fibserver/commands/server.py": "TIME",
}
"""The modules that may ask what time it is in the world, and what for."""

ASKS_THE_TIME = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime"}
ASKS_THE_TIME |= {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


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


@pytest.mark.parametrize("path", [path for path in PURE if path.startswith("fibserver/")])
def test_pure_parts_know_pure_parts_only(path: str) -> None:
    """What a pure part imports of fibserver is pure itself."""
    pure = {name.removesuffix(".py").replace("/", ".") for name in PURE}
    ours = {name for name in imports(ROOT / path) if name.startswith("fibserver.")}
    assert ours <= pure | VALUES


def names_used(path: Path) -> set[str]:
    """Return what a file takes from modules: `time.time` as such, or imported by name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.add(".".join(ast.unparse(node).split(".")[-2:]))
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_few_ask_for_the_time_of_day() -> None:
    """Whatever is timed is timed by the monotonic clock, so that clocks may be set."""
    asking = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "fibserver").rglob("*.py")
        if names_used(path) & ASKS_THE_TIME
    }
    assert asking <= set(WALL_CLOCK)


def test_the_library_needs_only_the_standard_library() -> None:
    """fibclient, its command line aside, has no dependency, and does not know that one."""
    third_party = {"click", "falcon", "numpy", "psutil", "pydantic", "rich"}
    third_party |= {"prometheus_client", "pydantic_settings", "waitress"}
    for path in (ROOT / "fibclient").glob("*.py"):
        if path.name != "__main__.py":
            names = imports(path)
            assert not {name.split(".")[0] for name in names} & third_party, path
            assert not [name for name in names if f"{name}.".startswith("fibclient.cli.")], path
