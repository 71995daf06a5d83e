"""Alerts for a stopped fibserver, through Prometheus and Alertmanager."""

import json
import queue
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.prometheus import CONFIG, free_port, run, running_prometheus
from tests.support.servers import DEADLINE_SECONDS, RunningServer
from tests.support.waiting import wait_until

RECEIVER = "127.0.0.1:9099"


class Webhook:
    """HTTP server that receives the alerts.

    Attributes:
        address: URL that Alertmanager calls.
        calls: Path and alerts of each call.
    """

    def __init__(self) -> None:
        calls: queue.Queue[tuple[str, list[dict[str, Any]]]] = queue.Queue()

        class WebhookHandler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                calls.put((self.path, body["alerts"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.calls = calls
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), WebhookHandler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def next(self, alert: str, status: str) -> tuple[str, dict[str, Any]]:
        """Wait for an alert with a status, and return the path that received it."""
        while True:
            path, alerts = self.calls.get(timeout=2 * DEADLINE_SECONDS)
            for each in alerts:
                if each["labels"]["alertname"] == alert and each["status"] == status:
                    return path, each


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A receiver of alerts."""
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever)
    thread.start()
    yield hook
    hook.server.shutdown()
    thread.join()
    hook.server.server_close()


@contextmanager
def alertmanager(program: str, folder: Path, receiver: str) -> Iterator[str]:
    """Run Alertmanager with the configuration in deploy/, and return its address."""
    address = f"127.0.0.1:{free_port()}"
    text = (CONFIG / "alertmanager.yml").read_text()
    assert RECEIVER in text
    text = re.sub(r"group_(wait|interval): \S+", r"group_\1: 1s", text.replace(RECEIVER, receiver))
    (folder / "alertmanager.yml").write_text(text)
    command = [program, "--config.file=alertmanager.yml", f"--storage.path={folder}/alerts"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]
    with run(command, folder, f"http://{address}/-/ready"):
        yield address


def test_alert_for_stopped_fibserver(
    serve: Callable[..., RunningServer],
    webhook: Webhook,
    program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """FibserverDown reaches the pager when fibserver stops, and is resolved when it is back."""
    metrics = f"127.0.0.1:{free_port()}"
    programs = program("prometheus"), program("prometheus-alertmanager")
    server = serve("--metrics-listen", metrics)
    with (
        alertmanager(programs[1], tmp_path, webhook.address) as manager,
        running_prometheus(programs[0], tmp_path, {"fibserver": metrics}, manager) as prometheus,
    ):
        prometheus.wait_until_up("fibserver")
        assert not prometheus.query('ALERTS{alertname="FibserverDown"}')
        server.stop()
        path, alert = webhook.next("FibserverDown", "firing")
        assert path == "/page"
        assert alert["annotations"]["summary"] == "fibserver on here does not answer"
        assert metrics in alert["annotations"]["description"]
        assert alert["annotations"]["runbook_url"].endswith("#fibserverdown")
        serve("--metrics-listen", metrics)
        assert webhook.next("FibserverDown", "resolved")[0] == "/page"
        wait_until(lambda: not prometheus.query('ALERTS{alertname="FibserverDown"}'), "it is over")


def test_one_fault_is_one_alert(program: Callable[[str], str], tmp_path: Path) -> None:
    """FibserverDown suppresses the alerts that follow from it, on the same host only."""
    faults = [
        ("FibserverDown", "a", "fibserver"),
        ("FibserverErrorsFast", "a", "fibserver"),
        ("FibserverErrorsFast", "b", "fibserver"),
        ("FibwebServerMarkedDown", "a", "fibweb"),
        ("FibwebErrorsFast", "a", "fibweb"),
        ("FibwebDown", "b", "fibweb"),
        ("FibwebSlow", "b", "fibweb"),
    ]
    alerts = [
        {"labels": {"alertname": name, "host": host, "job": job, "severity": "page"}}
        for name, host, job in faults
    ]
    path = program("prometheus-alertmanager")
    with alertmanager(path, tmp_path, "127.0.0.1:1") as address:
        url = f"http://{address}/api/v2/alerts"
        request = urllib.request.Request(
            url, json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=DEADLINE_SECONDS).close()

        def silent() -> set[tuple[str, str]]:
            with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
                told = json.load(reply)
            return {
                (each["labels"]["alertname"], each["labels"]["host"])
                for each in told
                if each["status"]["inhibitedBy"]
            }

        expected = {
            ("FibserverErrorsFast", "a"),
            ("FibwebServerMarkedDown", "a"),
            ("FibwebSlow", "b"),
        }
        wait_until(lambda: silent() == expected, "what follows is silent")
