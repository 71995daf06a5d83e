"""What the documents show is what happens."""

import doctest
from pathlib import Path

from tests.servers import RunningServer

DOCS = Path(__file__).parent.parent / "docs"


def test_the_examples_of_the_client(server: RunningServer) -> None:
    """Every example in docs/client.md gives what it says."""
    text = (DOCS / "client.md").read_text().replace("127.0.0.1:11235", server.address)
    examples = doctest.DocTestParser().get_doctest(text, {}, "client.md", "client.md", 0)
    assert len(examples.examples) > 20
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed, _ = runner.run(examples, out=report.append)
    assert not failed, "".join(report)
