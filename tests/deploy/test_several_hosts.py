"""Three hosts, of which one is killed or cut off and comes back, under load."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import missing

BENCH = Path(__file__).parents[2] / "bench" / "scaling.py"
SECONDS = 3
DEADLINE_SECONDS = 240
CLIENTS = 8


def test_a_host_fails(program: Callable[[str], str], tmp_path: Path) -> None:
    """No answer is wrong; fibclient loses none, HAProxy at most those that were under way."""
    for name in ("ip", "haproxy"):
        program(name)
    if os.geteuid() != 0:
        missing("root, for hosts of its own")
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCH), "--seconds", str(SECONDS), "--faults-only"]
    done = subprocess.run(
        [*command, "--json", str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    rows = json.loads(report.read_text())["faults"]
    assert {row["fault"] for row in rows} == {"killed", "cut off"}
    assert len({row["arrangement"] for row in rows}) == 4
    for row in rows:
        assert row["requests"] > 50, row
        assert row["wrong"] == 0, row
        assert row["lost"] <= (CLIENTS if row["arrangement"] == "HAProxy, fibwebs" else 0), row
