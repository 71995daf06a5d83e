"""Prometheus with the configuration of deploy/, on other addresses and with shorter intervals."""

import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.servers import DEADLINE_SECONDS
from tests.support.waiting import wait_until

__all__ = ["CONFIG", "Prometheus", "free_port", "run", "running_prometheus"]

CONFIG = Path(__file__).parents[2] / "deploy" / "prometheus"
ADDRESSES = {"fibserver": "127.0.0.1:9111", "fibweb": "127.0.0.1:9112"}
MANAGER = "127.0.0.1:9093"
OWN = "127.0.0.1:9090"


def free_port() -> int:
    """Return an unused TCP port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run(command: list[str], folder: Path, url: str) -> Iterator[None]:
    """Run a program until the context ends; yield once its readiness URL responds."""
    log = folder / f"{Path(command[0]).name}.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=folder) as child,
    ):

        def is_ready() -> bool:
            assert child.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS):
                    return True
            except OSError:
                return False

        try:
            wait_until(is_ready, f"{command[0]} is ready")
            yield
        finally:
            child.terminate()
            child.wait(DEADLINE_SECONDS)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        """Refer to a running Prometheus.

        Args:
            port: Port on 127.0.0.1.
        """
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the current value of an expression; raise ValueError if it is invalid."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def rules(self) -> list[str]:
        """Return the expressions of all rules, each of which must have run without an error."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        for rule in rules:
            assert rule["health"] == "ok", rule
        return [rule["query"] for rule in rules]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self._url}/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{parameters}: {error.read().decode()}") from error

    def wait_until_up(self, job: str) -> None:
        """Wait until the targets of a job are scraped."""
        wait_until(lambda: bool(self.query(f'up{{job="{job}"}} == 1')), f"{job} is up")


@contextmanager
def running_prometheus(
    program: str, folder: Path, targets: dict[str, str], manager: str = MANAGER
) -> Iterator[Prometheus]:
    """Run Prometheus.

    Args:
        program: Path of the program.
        folder: Directory for its files.
        targets: Address of the target of each job.
        manager: Address of Alertmanager.
    """
    port = free_port()
    text = (CONFIG / "prometheus.yml").read_text()
    replaced = {ADDRESSES[job]: address for job, address in targets.items()}
    for before, after in {**replaced, MANAGER: manager, OWN: f"127.0.0.1:{port}"}.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "prometheus.yml").write_text(re.sub("_interval: 15s", "_interval: 1s", text))
    for rules in CONFIG.glob("fib-*.yml"):
        (folder / rules.name).write_text(rules.read_text().replace("for: 30s", "for: 1s"))
    command = [program, "--config.file=prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"]
    command += ["--web.console.templates=", "--web.console.libraries="]
    with run(command, folder, f"http://127.0.0.1:{port}/-/ready"):
        yield Prometheus(port)
