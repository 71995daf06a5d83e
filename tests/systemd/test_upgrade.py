"""Upgrade under load, and uninstallation."""

import json
import subprocess
import sys

from tests.systemd.guide import Guided, files
from tests.systemd.machine import REPOSITORY


def test_upgrade_and_uninstall(guided: Guided) -> None:
    """An upgrade under load loses no request; an uninstallation keeps edited settings."""
    guided.run("systemctl", "reset-failed")
    guided.run("systemctl", "start", "fib.target", "fibserver", "fibweb")
    guided.write("/etc/fib/fibweb.toml", guided.read("/etc/fib/fibweb.toml") + "\nthreads = 5\n")
    load = [sys.executable, "-m", "tests.systemd.load", "8080"]
    within = ["nsenter", "-t", str(guided.leader), "-n"]
    before = guided.run("readlink", "/opt/fib/bin")
    with subprocess.Popen(
        [*within, *load], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as clients:
        try:
            assert "Kept /etc/fib/fibweb.toml" in guided.make("install")
            for _ in range(3):
                guided.run("systemctl", "restart", "fibserver", "fibweb")
            output, _ = clients.communicate(timeout=60)
        finally:
            clients.kill()
    figures = json.loads(output)
    print(f"{figures['answered']} requests answered during an upgrade")
    assert figures["failures"] == [], guided.run("journalctl", "-n", "60", "--no-pager")
    assert figures["answered"] > 1000
    assert guided.run("readlink", "/opt/fib/bin") != before
    assert "threads = 5" in guided.read("/etc/fib/fibweb.toml")
    assert len(guided.run("ls", "/opt/fib/releases").split()) == 2

    guided.make("uninstall")
    left = files(guided) - guided.before
    mine = {"/etc/fib", "/etc/fib/fibweb.toml"}
    assert {path for path in left if "prometheus" not in path} == mine
    assert not guided.succeeds("getent", "group", "fib")
    assert not guided.succeeds("systemctl", "cat", "fibserver.service")
    assert not guided.succeeds("pgrep", "-f", "/opt/fib")
