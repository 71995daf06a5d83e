"""The Grafana dashboard and the rules, on a Prometheus with data of the services."""

import itertools
import json
import re
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fibclient import FibClient, RequestRefused
from tests.support.fibweb_process import get, start_fibweb
from tests.support.prometheus import Prometheus, free_port, running_prometheus
from tests.support.servers import RunningServer, start_server
from tests.support.waiting import wait_until

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "fibservice.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VALUES = {"$host": ".*", "$__rate_interval": "1m"}


@pytest.fixture(scope="module")
def prometheus(
    program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scraped both services while they were used."""
    path = program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        server = start_server(
            folder / "fibserver.log",
            "--metrics-listen=127.0.0.1:0",
            f"--state-dir={folder / 'state'}",
        )
        stack.callback(server.stop)
        (metrics,) = re.findall(r"metrics on http://(\S+)/metrics", server.log.read_text())
        targets = {"fibserver": metrics, "fibweb": f"127.0.0.1:{free_port()}"}
        web = start_fibweb(
            *(folder / "fibweb.log", "--servers", server.address),
            *("--metrics-listen", targets["fibweb"]),
        )
        stack.callback(web.stop)
        running = stack.enter_context(running_prometheus(path, folder, targets))
        for job in targets:
            running.wait_until_up(job)
        use(web, server)
        wait_until(lambda: has_seen(running), "the figures have moved")
        yield running


def use(web: RunningServer, server: RunningServer) -> None:
    """Send requests that succeed and requests that fail."""
    for n in (10, 10, 1000, 5000):
        get(web, f"/fib/{n}")
    get(web, "/number/1000000")  # large enough to be saved
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(web, "/fib/x")
    caught.value.close()
    with FibClient(server.address) as client:
        client.read(0, 1000, "csv")
        with pytest.raises(RequestRefused):
            client.read(0, 10**9, "csv")


def has_seen(prometheus: Prometheus) -> bool:
    """Return whether some scrapes had traffic, and the rules have run."""
    seen = ["rate(fibserver_sent_bytes_total[1m]) > 0", "instance:fibweb_errors:ratio_rate5m"]
    seen += ["instance:fibserver_errors:ratio_rate5m", "fibserver_snapshot_age_seconds"]
    seen += ['count_over_time(up{job="fibserver"}[1m]) > 5']
    return all(map(prometheus.query, seen))


def filled_in(expression: str) -> str:
    """Return an expression with values for its variables."""
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_every_expression(prometheus: Prometheus) -> None:
    """Every expression is valid and has a result."""
    targets = [(panel, target) for panel in PANELS for target in panel["targets"]]
    assert len(targets) > 40
    for panel, target in targets:
        result = prometheus.query(filled_in(target["expr"]))
        assert result, f"{panel['title']}: {target['expr']}"
        for name in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            is_labelled = any(name in each["metric"] for each in result)
            assert is_labelled or "vector(0)" in target["expr"], f"{panel['title']}: {name}"
    for annotation in DASHBOARD["annotations"]["list"]:
        prometheus.query(filled_in(annotation["expr"]))
    (host,) = (each for each in DASHBOARD["templating"]["list"] if each["name"] == "host")
    selector = re.fullmatch(r"label_values\((.+), host\)", host["definition"])
    assert selector is not None
    assert {each["metric"]["host"] for each in prometheus.query(selector[1])} == {"here"}


def test_every_metric(prometheus: Prometheus) -> None:
    """Every metric in rules and dashboard is exported."""
    names = metrics_in(json.dumps(DASHBOARD)).union(*map(metrics_in, prometheus.rules()))
    assert len(names) > 40
    missing = {name for name in names if not prometheus.query(name)}
    assert not missing


def metrics_in(text: str) -> set[str]:
    """Return the names of our metrics in a text."""
    return set(re.findall(r"(?<![\w:])(?:fib(?:server|web)_\w+|up(?=\{))", text))


def test_rules_run_without_warnings(prometheus: Prometheus) -> None:
    """Each rule runs without warnings."""
    assert len(prometheus.rules()) > 30
    assert not prometheus.query('ALERTS{alertname=~"Fib.+"}')


def test_dashboard_panels_are_complete() -> None:
    """Panels have unique IDs, do not overlap, and have a description and a unit."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        cells = set(itertools.product(columns, rows))
        assert not cells & taken, panel["title"]
        assert columns.stop <= 24
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles[0] == "Is it up?"
    assert all(title.endswith("?") for title in titles)
