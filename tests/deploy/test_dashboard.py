"""The Grafana dashboard: every expression gives something, on a Prometheus with real data."""

import itertools
import json
import re
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fibclient import FibClient, RequestRefused
from tests.deploy.prometheus import Prometheus, free_port, running_prometheus
from tests.fibweb.running import get, start_fibweb
from tests.servers import RunningServer
from tests.waiting import wait_until

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "fibservice.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VALUES = {"$host": ".*", "$__rate_interval": "1m"}


@pytest.fixture
def prometheus(
    serve: Callable[..., RunningServer], program: Callable[[str], str], tmp_path: Path
) -> Iterator[Prometheus]:
    """A Prometheus that has watched both services while they were used."""
    metrics = f"127.0.0.1:{free_port()}"
    path = program("prometheus")
    server = serve("--metrics-listen", metrics, "--state-dir", str(tmp_path / "state"))
    web = start_fibweb(tmp_path / "fibweb.log", "--servers", server.address)
    targets = {"fibserver": metrics, "fibweb": f"127.0.0.1:{web.port}"}
    with running_prometheus(path, tmp_path, targets) as running:
        for job in targets:
            running.wait_until_up(job)
        use(web, server)
        wait_until(lambda: has_seen(running), "the figures have moved")
        yield running
    assert web.stop() == 0


def use(web: RunningServer, server: RunningServer) -> None:
    """Ask for what there is, and for what there is not."""
    for n in (10, 10, 1000, 5000):
        get(web, f"/fib/{n}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(web, "/fib/x")
    caught.value.close()
    with FibClient(server.address) as client:
        client.read(0, 1000, "csv")
        with pytest.raises(RequestRefused):
            client.read(0, 10**9, "csv")


def has_seen(prometheus: Prometheus) -> bool:
    """Tell whether two scrapes with traffic have been seen, and the rules have run."""
    seen = ["rate(fibserver_sent_bytes_total[1m]) > 0", "instance:fibweb_errors:ratio_rate5m"]
    return all(map(prometheus.query, [*seen, "instance:fibserver_errors:ratio_rate5m"]))


def filled_in(expression: str) -> str:
    """Return an expression with values for its variables."""
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_every_expression(prometheus: Prometheus) -> None:
    """None is wrong, and none is empty."""
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


def test_the_page() -> None:
    """Panels have ids of their own, do not overlap, and say what they show and in which unit."""
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
