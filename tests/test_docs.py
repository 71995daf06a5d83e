"""Tests that the documents are true."""

import doctest
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fibclient import FibClient
from fibweb import create_app
from tests.support.fibclient_command import on_terminal
from tests.support.http_servers import SERVERS
from tests.support.servers import DEADLINE_SECONDS, RunningServer

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"


def test_the_examples_of_the_client(server: RunningServer) -> None:
    """Every example in docs/client.md has the documented result."""
    text = (DOCS / "client.md").read_text().replace("127.0.0.1:11235", server.address)
    examples = doctest.DocTestParser().get_doctest(text, {}, "client.md", "client.md", 0)
    assert len(examples.examples) > 20
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed, _ = runner.run(examples, out=report.append)
    assert not failed, "".join(report)


def test_the_examples_of_rest(
    server: RunningServer, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Every command in docs/rest.md prints the documented output."""
    program("curl")
    examples = list(_shell_examples((DOCS / "rest.md").read_text()))
    assert len(examples) > 15
    with FibClient(server.address) as client, SERVERS["fibweb"](create_app(client)) as port:
        for command, expected in examples:
            text = _output(command.replace("127.0.0.1:8080", f"127.0.0.1:{port}"), tmp_path)
            text = re.sub('("request_id": )"[^"]+"', r'\1"..."', text)
            assert text.splitlines() == expected, command


def test_the_examples_of_the_readme(
    server: RunningServer, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Every command in README.md prints what it shows, with … for what is left out."""
    program("curl")
    program("redis-cli")
    text = (ROOT / "README.md").read_text().replace("127.0.0.1:11235", server.address)
    examples = list(_shell_examples(text))
    assert len(examples) > 9
    with FibClient(server.address) as client, SERVERS["fibweb"](create_app(client)) as port:
        for command, expected in examples:
            if command.startswith(".venv/bin/fibclient "):
                arguments = command.split()[1:]
                shown = on_terminal("--server", server.address, *arguments).text
            else:
                command = command.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
                redis_cli = f"redis-cli --no-raw -p {server.port}"
                shown = _output(command.replace("redis-cli -p 11235", redis_cli), tmp_path)
            pattern = re.escape("\n".join(expected)).replace("…", r"[^$]*")
            pattern = re.sub(r"[\d.\\]+\\ m?s\b", r"[\\d.]+\\ m?s", pattern)
            lines = "\n".join(line.rstrip() for line in shown.splitlines())
            assert re.search(rf"(?m)^{pattern}\s*\Z", lines), f"{command}\n{shown}"


def test_the_examples_of_exports(server: RunningServer, tmp_path: Path) -> None:
    """Every command in docs/export.md prints what it shows, with … for what is left out."""
    examples = list(_shell_examples((DOCS / "export.md").read_text()))
    assert len(examples) > 7
    command_line = f"{sys.executable} -m fibclient --server {server.address}"
    for command, expected in examples:
        shown = _output(command.replace("fibclient ", f"{command_line} "), tmp_path)
        pattern = re.escape("\n".join(expected)).replace("…", ".*")
        assert re.fullmatch(pattern, shown.removesuffix("\n")), f"{command}\n{shown}"


def test_the_python_examples_of_the_readme(server: RunningServer) -> None:
    """Every Python example in README.md gives what it shows."""
    text = (ROOT / "README.md").read_text().replace("127.0.0.1:11235", server.address)
    examples = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    report: list[str] = []
    failed, attempted = doctest.DocTestRunner().run(examples, out=report.append)
    assert attempted == 2
    assert not failed, "".join(report)


def _shell_examples(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a document, which follow "$ ", and the lines of their output."""
    for block in re.findall(r"(?m)(?:^    .*\n)+", text):
        for example in re.split(r"(?m)^    \$ ", block)[1:]:
            command, *output = example.splitlines()
            yield command, [line[4:] for line in output]


def _output(command: str, folder: Path) -> str:
    """Run a command of a shell in a folder and return what it prints."""
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        timeout=DEADLINE_SECONDS,
        check=True,
    ).stdout.decode()


def test_the_documents_of_the_settings() -> None:
    """docs/settings.md and the example files match the definitions of the settings."""
    files: dict[Path, str] = runpy.run_path(str(DOCS / "settings.py"))["files"]()
    assert len(files) == 3
    for path, text in files.items():
        assert path.read_text() == text, f"{path} is outdated: run python docs/settings.py"


def test_the_named_tests_exist() -> None:
    """Each test that docs/*.md name exists, in the file that is named before it on its line."""
    defined = {
        str(path.relative_to(TESTS)): set(re.findall(r"^ *def (test_\w+)", path.read_text(), re.M))
        for path in TESTS.rglob("test_*.py")
    }
    count = 0
    for document, line in _lines_of_documents():
        tests = set().union(*defined.values())
        for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+(?:\.py)?)`", line):
            count += 1
            if name.endswith(".py"):
                assert name in defined, f"{document} names tests/{name}"
                tests = defined[name]
            else:
                assert name in tests, f"{document} names {name}: {line}"
    assert count > 100


def test_the_named_modules_exist() -> None:
    """Each module that docs/*.md name with its path exists."""
    names = {
        (document, name)
        for document, line in _lines_of_documents()
        for name in re.findall(r"`(fib(?:client|common|server|web)/[\w/]+\.py)`", line)
        if not Path(name).name.startswith("test_")
    }
    assert len(names) > 20
    assert not [name for name in names if not (ROOT / name[1]).exists()]


def _lines_of_documents() -> Iterator[tuple[str, str]]:
    for path in DOCS.glob("*.md"):
        for line in path.read_text().splitlines():
            yield path.name, line
