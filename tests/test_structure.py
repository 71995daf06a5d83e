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
    "fibcommon/addresses.py",
    "fibclient/connections/encoded_slice.py",
    "fibcommon/costs.py",
    "fibclient/connections/endpoints.py",
    "fibclient/errors.py",
    "fibcommon/formats.py",
    "fibclient/transport/hedging.py",
    "fibcommon/info.py",
    "fibclient/connections/other_services.py",
    "fibclient/connections/resp.py",
    "fibclient/transport/retry.py",
    "fibcommon/sizes.py",
    "fibcommon/http/host_header.py",
    "fibcommon/http/problem_details.py",
    "fibclient/cli/checks/digits.py",
    "fibclient/cli/checks/findings.py",
    "fibclient/cli/checks/health.py",
    "fibclient/cli/measuring/latency.py",
    "fibclient/cli/measuring/server_sample.py",
    "fibcommon/modular.py",
    "fibclient/cli/render/truncation.py",
    "fibclient/cli/render/units.py",
    "fibweb/http/byte_ranges.py",
    "fibweb/http/entity_tags.py",
    "fibweb/http/cors.py",
    "fibweb/stats/request_metrics.py",
    "fibweb/content/fetch.py",
    "fibweb/stats/metric_values.py",
    "fibweb/overload/admission.py",
    "fibweb/overload/fetch_queue.py",
    "fibweb/overload/held_bytes.py",
    "fibweb/http/mounting.py",
    "fibweb/http/negotiation.py",
    "fibweb/resources/openapi_parts.py",
    "fibweb/http/parameters.py",
    "fibweb/http/representations.py",
    "fibweb/processes/restarts.py",
    "fibserver/compute/arithmetic.py",
    "fibserver/memory/blocks.py",
    "fibserver/core/fair_queue.py",
    "fibserver/memory/growth.py",
    "fibserver/compute/simd_lanes.py",
    "fibserver/memory/layout.py",
    "fibserver/core/listings.py",
    "fibserver/core/overload.py",
    "fibserver/compute/rendering.py",
    "fibserver/network/reply_cache.py",
    "fibserver/protocol/reply_encoding.py",
    "fibserver/protocol/request_parser.py",
    "fibserver/commands/session.py",
    "fibserver/monitoring/slow_log.py",
    "fibserver/core/statistics.py",
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
    "fibserver/monitoring/info.py": "INFO tells when it is, and when was last saved",
    "fibserver/monitoring/metrics.py": "Prometheus wants to know when the server was started",
    "fibserver/network/request_handler.py": "an entry of the slow log says when",
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
