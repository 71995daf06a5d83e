"""The files for containers name settings that exist; tests/shipping builds and runs the image."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fibserver.settings import ServerSettings
from fibweb.settings import WebSettings
from tests.support.servers import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy" / "container"
PROMETHEUS = ROOT / "deploy" / "prometheus"


@pytest.mark.parametrize(
    "path", [CONTAINER / "Containerfile", ROOT / "compose.yaml"], ids=lambda path: path.name
)
def test_variables_are_settings(path: Path) -> None:
    """Every variable is one of a setting: a misspelled one would be ignored."""
    named = set(re.findall(r"\bFIB(?:SERVER|WEB)_[A-Z_]+", path.read_text()))
    known = {
        kind.variable(name)
        for kind in (ServerSettings, WebSettings)
        for name in kind.definitions()
    }
    assert named
    assert named <= known


def test_prometheus_scrapes_the_ports_of_compose() -> None:
    """The targets of Prometheus are the addresses of the metrics in compose.yaml."""
    config = (CONTAINER / "prometheus.yml").read_text()
    compose = (ROOT / "compose.yaml").read_text()
    listened = re.findall(r"(\w+)_METRICS_LISTEN: 0\.0\.0\.0:(\d+)", compose)
    assert len(listened) == 2
    for service, port in listened:
        assert f'"{service.lower()}:{port}"' in config


def test_prometheus_configuration(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Promtool accepts the configuration with the rules beside it, as compose.yaml mounts them."""
    for path in (CONTAINER / "prometheus.yml", *PROMETHEUS.glob("fib-*.yml")):
        (tmp_path / path.name).write_text(path.read_text())
        assert (
            f"/{path.name}:/etc/prometheus/{path.name}:ro" in (ROOT / "compose.yaml").read_text()
        )
    check = [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    subprocess.run(check, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
