"""The guide in docs/operations.md leads to monitored services."""

import json
import re

from tests.support.waiting import wait_until
from tests.systemd.guide import Guided, guide


def test_guide_leads_to_monitored_services(guided: Guided) -> None:
    """The eleven commands lead to services that work and that Prometheus scrapes."""
    assert len(guided.outputs) == 11
    outputs = dict(zip(guide(), guided.outputs, strict=True))

    def output_of(word: str) -> str:
        return next(text for command, text in outputs.items() if word in command)

    assert json.loads(output_of("/fib/10"))["result"][-1] == "34"
    assert "354224848179261915075" in output_of("FIB.NUMBER")
    assert "127.0.0.1:11235" in output_of("doctor")
    # On this machine, which has no private address, the last command shows all that is up.
    shown = re.findall(r'^up\{.*job="(\w+)"\} => 1 @', guided.outputs[-1], re.MULTILINE)
    assert sorted(shown) == ["alertmanager", "fibserver", "fibweb", "prometheus"]
    rules = guided.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/rules")
    assert "FibserverDown" in rules
    managers = "http://127.0.0.1:9090/api/v1/alertmanagers"
    wait_until(lambda: ":9093/" in guided.run("curl", "-sS", managers), "the Alertmanager")
