"""The runbook has a section for each alert, and monitoring uses only existing metrics."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALERTS = (ROOT / "deploy" / "prometheus" / "fib-alerts.yml").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
WATCHING = [
    ALERTS,
    (ROOT / "deploy" / "prometheus" / "fib-recording.yml").read_text(),
    (ROOT / "deploy" / "grafana" / "fibservice.json").read_text(),
]


def test_each_alert_has_a_section() -> None:
    """Each alert points to its section, and each section has an alert."""
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert sorted(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == sorted(alerts)
    links = re.findall(r"runbook_url: docs/runbook\.md#(\w+)", ALERTS)
    assert links == [name.lower() for name in alerts]
    for link in re.findall(r"\(#(\w+)\)", RUNBOOK):
        assert link in links


def test_each_metric_is_served() -> None:
    """The metrics in rules and dashboard are in docs/metrics.md, which other tests check."""
    served = set(re.findall(r"^\| `(fib\w+)`", METRICS, re.MULTILINE))
    asked = {
        name for text in WATCHING for name in re.findall(r"(?<![\w:])fib(?:server|web)_\w+", text)
    }
    asked = {name.removesuffix("_bucket") for name in asked if not name.endswith("_errors")}
    assert len(asked) > 30
    assert asked <= served, asked - served


def test_each_log_line_exists() -> None:
    """The texts that the runbook greps for in the journal are in the source."""
    texts = re.findall(r"journalctl .*\| grep '?([\w ]+)", RUNBOOK)
    assert len(texts) > 1
    source = [
        path.read_text()
        for folder in ("fibserver", "fibweb")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert not [text for text in texts if not any(text in code for code in source)]
