"""What the documents show is what happens."""

import doctest
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from fibclient import FibClient
from fibweb import create_app
from tests.support.http_servers import SERVERS
from tests.support.servers import DEADLINE_SECONDS, RunningServer

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"


def test_the_examples_of_the_client(server: RunningServer) -> None:
    """Every example in docs/client.md gives what it says."""
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
    """Every command in docs/rest.md says what the document says."""
    program("curl")
    text = (DOCS / "rest.md").read_text()
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    examples: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            examples.append((line[2:], []))
        else:
            examples[-1][1].append(line)
    assert len(examples) > 15
    with FibClient(server.address) as client, SERVERS["fibweb"](create_app(client)) as port:
        for command, expected in examples:
            done = subprocess.run(
                command.replace("127.0.0.1:8080", f"127.0.0.1:{port}"),
                shell=True,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                timeout=DEADLINE_SECONDS,
                check=False,
            )
            # Lines end as each of the programs likes.
            said = done.stdout.decode().splitlines()
            said = [re.sub('("request_id": )"[^"]+"', r'\1"..."', line) for line in said]
            assert (said, done.returncode) == (expected, 0), command


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
