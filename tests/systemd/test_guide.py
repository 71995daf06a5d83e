"""The guide in docs/operations.md leads to services that answer and are watched."""

import json
import re

from tests.support.waiting import wait_until
from tests.systemd.guide import Guided, guide


def test_the_guide(guided: Guided) -> None:
    """Eleven commands lead to a service that answers, and that Prometheus watches."""
    assert len(guided.said) == 11
    said = dict(zip(guide(), guided.said, strict=True))

    def answer(word: str) -> str:
        return next(text for command, text in said.items() if word in command)

    assert json.loads(answer("/fib/10"))["result"][-1] == "34"
    assert "354224848179261915075" in answer("FIB.NUMBER")
    assert "127.0.0.1:11235" in answer("doctor")
    # On this machine, which has no private address, the last command shows all that is up.
    shown = re.findall(r'^up\{.*job="(\w+)"\} => 1 @', guided.said[-1], re.MULTILINE)
    assert sorted(shown) == ["alertmanager", "fibserver", "fibweb", "prometheus"]
    rules = guided.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/rules")
    assert "FibserverDown" in rules
    managers = "http://127.0.0.1:9090/api/v1/alertmanagers"
    wait_until(lambda: ":9093/" in guided.run("curl", "-sS", managers), "the Alertmanager")
