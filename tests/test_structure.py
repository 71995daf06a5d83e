"""Structure of the code: imports point one way, without circles, and pure parts stay pure.

All imports count, those for typing included.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PACKAGES = {
    "fibcommon": set(),
    "fibclient": {"fibcommon"},
    "fibserver": {"fibcommon"},
    "fibweb": {"fibclient", "fibcommon"},
}
"""Packages, and those that they may import."""

ROOMS = {
    "fibcommon": (
        *("configuration", "service", "http"),
        *(
            "digits",
            "indices",
            "modular",
            "info",
            "quantiles",
            "bounded_cache",
            "costs",
            "limits",
            "formats",
            "sizes",
            "logarithms",
            "bounds",
            "units",
            "addresses",
            "extras",
            "__init__",
        ),
    ),
    "fibclient": (
        *("__main__", "cli/commands", "cli/checks", "cli/render", "cli/measuring", "cli"),
        *(
            "export",
            "__init__",
            "document",
            "client",
            "call_threads",
            "single_numbers",
            "statistics",
            "prefix_cache",
        ),
        *("transport", "connections", "cancellation", "errors"),
    ),
    "fibserver": (
        *("__main__", "cli", "acceptor", "network", "commands", "monitoring", "engine", "workers"),
        *("storage", "core", "memory", "protocol", "compute", "settings", "__init__"),
    ),
    "fibweb": (
        *("__main__", "wsgi", "cli", "processes", "__init__", "app", "resources", "server"),
        *("overload", "content", "stats", "http", "assets", "settings"),
    ),
}
"""Folders and files at the root of each package, from the top (may import) to the bottom."""

PURE = {
    "fibcommon/*.py": set(),
    "fibcommon/http/*.py": set(),
    "fibclient/errors.py": set(),
    "fibclient/export/manifest.py": set(),
    "fibclient/export/plan.py": set(),
    "fibclient/connections/*.py": {"connection", "connecting"},
    "fibclient/transport/hedging.py": set(),
    "fibclient/transport/load_balancing.py": set(),
    "fibclient/transport/retry.py": set(),
    "fibclient/transport/transfer.py": set(),
    "fibclient/cli/checks/*.py": {"diagnosis"},
    "fibclient/cli/render/*.py": {"number_lines", "progress", "tables"},
    "fibserver/commands/*.py": {"server"},
    "fibserver/compute/*.py": set(),
    "fibserver/core/*.py": {"event_loop", "process_memory"},
    "fibserver/memory/*.py": {"arena"},
    "fibserver/monitoring/slow_log.py": set(),
    "fibserver/network/output_queue.py": set(),
    "fibserver/network/reply_cache.py": set(),
    "fibserver/protocol/*.py": set(),
    "fibweb/assets/*.py": set(),
    "fibweb/content/*.py": set(),
    "fibweb/http/*.py": set(),
    "fibweb/overload/*.py": set(),
    "fibweb/processes/restarts.py": set(),
    "fibweb/stats/metric_values.py": set(),
    "fibweb/stats/request_metrics.py": set(),
}
"""Files without sockets, processes and clocks, and those of a folder that have some."""

SYSTEM = {"mmap", "multiprocessing", "os", "resource", "select", "signal", "socket"}
SYSTEM |= {"subprocess", "threading", "time"}

KNOWN = {*PACKAGES, *sys.stdlib_module_names, "dns"}
"""What the client library may import; `dns` only for those who want names of services."""

WALL_CLOCK = {
    "fibserver/monitoring/info.py": "INFO has the time, and when blocks were last saved",
    "fibserver/monitoring/metrics.py": "Prometheus wants to know when the server was started",
    "fibserver/network/request_handler.py": "an entry of the slow log has its time",
    "fibserver/commands/server.py": "TIME",
    "fibserver/storage/snapshot.py": "the age of temporary files, whose times are of that clock",
}
"""Modules that may ask for the time of day, and what for."""

TIME_OF_DAY = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime"}
TIME_OF_DAY |= {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


@cache
def modules(package: str) -> dict[str, Path]:
    """Return the files of a package by the dotted names of their modules."""
    paths = (ROOT / package).rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


MODULES = {name: path for package in PACKAGES for name, path in modules(package).items()}


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted name of each module that a file imports; ours end in a file's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (_file(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else _file(node.module)


def _file(module: str) -> str:
    return f"{module}.__init__" if f"{module}.__init__" in MODULES else module


def room(module: str) -> str:
    """Return the folder, or the file at the root of its package, that a module belongs to."""
    _, *folders, name = module.split(".")
    return "/".join(folders) or name


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    """Web, server and client import shared code; only the web service imports the client."""
    for path in modules(package).values():
        roots = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
        assert roots <= PACKAGES[package] | {package}, path


def test_the_web_service_imports_only_public_names_of_the_client() -> None:
    """What `fibclient` exports is enough for programs that use it."""
    for path in modules("fibweb").values():
        for name in imported(path):
            assert not name.startswith("fibclient.") or name == "fibclient.__init__", path


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_one_way(package: str) -> None:
    """A folder imports only folders below it in the order, which has them all."""
    order = ROOMS[package]
    for module, path in modules(package).items():
        here = order.index(room(module))
        for name in imported(path):
            if name in modules(package):
                assert order.index(room(name)) >= here, f"{module} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_files_import_without_circles(package: str) -> None:
    """No file is imported, by way of others, by what it imports."""
    graph = {module: set(imported(path)) - {module} for module, path in modules(package).items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_have_docstrings(package: str) -> None:
    """Each folder of code has a paragraph about itself."""
    for folder in {path.parent for path in modules(package).values()}:
        text = (folder / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), folder


def test_documented_attributes_exist() -> None:
    """Every name below `Attributes:` in the docstring of a class occurs in its body."""
    stale = []
    for path in MODULES.values():
        classes = (
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef)
        )
        for node in classes:
            used = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
            used |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            used |= {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            documented = _attributes(ast.get_docstring(node) or "")
            stale += [f"{path}: {node.name}.{name}" for name in documented if name not in used]
    assert not stale


def _attributes(docstring: str) -> list[str]:
    _, _, section = docstring.partition("Attributes:\n")
    return re.findall(r"^    (\w+): ", section, re.MULTILINE)


@pytest.mark.parametrize("pattern", PURE)
def test_pure_parts_import_no_system(pattern: str) -> None:
    """Arithmetic, formats, parsing and decisions need no sockets, processes or clocks."""
    pure = [path for path in ROOT.glob(pattern) if path.stem not in PURE[pattern]]
    assert pure
    for path in pure:
        assert not {name.split(".")[0] for name in imported(path)} & SYSTEM, path


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
    """Durations are measured by the monotonic clock, so that clocks may be set."""
    asking = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "fibserver").rglob("*.py")
        if names_used(path) & TIME_OF_DAY
    }
    assert asking <= set(WALL_CLOCK)


def test_the_library_needs_only_the_standard_library() -> None:
    """fibclient has no dependency, its command line aside, and does not import that."""
    ours = [path for name, path in modules("fibclient").items() if not _is_command_line(name)]
    ours += (ROOT / "fibcommon").glob("*.py")
    for path in ours:
        for name in imported(path):
            root = name.split(".")[0]
            assert root in KNOWN, f"{path}: {name}"
            assert not name.startswith("fibclient.cli."), f"{path}: {name}"


def _is_command_line(module: str) -> bool:
    return module == "fibclient.__main__" or module.startswith("fibclient.cli.")
