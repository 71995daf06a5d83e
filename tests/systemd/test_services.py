"""systemd units on a booted machine: start, failures, reload, stop and restart."""

import json
import re
import subprocess

import pytest

from tests.support.waiting import wait_until
from tests.systemd.guide import Guided
from tests.systemd.machine import BootedMachine

SERVICES = ("fibserver", "fibweb")
LARGE = "/fib/30000"
"""94 MB, more than the buffers of a socket hold."""


@pytest.fixture(scope="module")
def installed(guided: Guided) -> BootedMachine:
    """The machine, without Prometheus, whose scrapes would start stopped services again."""
    guided.run("systemctl", "stop", "prometheus", "prometheus-alertmanager")
    guided.run("systemctl", "enable", "fib.target")
    return guided


@pytest.fixture
def machine(installed: BootedMachine) -> BootedMachine:
    """The machine with both services running."""
    installed.run("systemctl", "reset-failed")  # resets the counts of restarts as well
    installed.run("systemctl", "start", "fib.target", *SERVICES)
    return installed


def get(machine: BootedMachine, path: str) -> str:
    """Return the body of a response."""
    return machine.run("curl", "-sS", "--max-time", "30", f"http://127.0.0.1:8080{path}")


def main_pid(machine: BootedMachine, service: str) -> int:
    """Return the main process of a service, 0 if it is not running."""
    return int(machine.property(service, "MainPID"))


def kill(machine: BootedMachine, signal: str, pid: int) -> None:
    """Send a signal to a process of the machine."""
    machine.run("kill", f"-{signal}", str(pid))


def info(machine: BootedMachine) -> str:
    """Return the text of INFO."""
    return machine.run("redis-cli", "-p", "11235", "INFO", "ALL")


def info_field(machine: BootedMachine, name: str) -> str:
    """Return a field of INFO."""
    found = re.search(rf"^{name}:(.+)$", info(machine), re.MULTILINE)
    assert found is not None
    return found[1].strip()


def workers(machine: BootedMachine) -> list[int]:
    """Return the worker processes."""
    return [int(pid) for pid in info_field(machine, "worker_pids").split(",")]


def has_status(machine: BootedMachine, service: str) -> bool:
    """Return whether `systemctl status` shows the number of clients of a service."""
    return re.search(r"\d+ clients", machine.property(service, "StatusText")) is not None


def wait_until_another(machine: BootedMachine, service: str, pid: int) -> None:
    """Wait until a service is ready with another main process."""

    def is_another() -> bool:
        state = machine.property(service, "ActiveState")
        return state == "active" and main_pid(machine, service) not in (0, pid)

    wait_until(is_another, f"another {service}")


def test_services_start(machine: BootedMachine) -> None:
    """After `systemctl start` REST, Redis protocol, command line and metrics work."""
    assert json.loads(get(machine, "/fib/5")) == {"N": 5, "result": ["0", "1", "1", "2", "3"]}
    wait_until(lambda: get(machine, "/readyz") == "ready\n", "a fibserver has replied in time")
    assert machine.run("redis-cli", "-p", "11235", "FIB.NUMBER", "100").strip() == str(
        354224848179261915075
    )
    over_unix = ["redis-cli", "-s", "/run/fib/fibserver.sock", "FIB.NUMBER", "10"]
    assert machine.run(*over_unix).strip() == "55"
    assert "fibserver_workers" in machine.run("curl", "-sS", "http://127.0.0.1:9111/metrics")
    assert "fibweb_processes" in machine.run("curl", "-sS", "http://127.0.0.1:9112/metrics")
    assert "fibweb_processes" not in get(machine, "/metrics")
    doctor = machine.run("fibclient", "doctor")
    assert "127.0.0.1:11235" in doctor
    for service in SERVICES:
        assert machine.property(service, "NRestarts") == "0"
        wait_until(lambda service=service: has_status(machine, service), service)  # type: ignore[misc]


@pytest.mark.parametrize("service", SERVICES)
def test_metrics_socket_can_have_another_address(machine: BootedMachine, service: str) -> None:
    """The metrics socket can have another address, as described in docs/scaling.md."""
    port = {"fibserver": 9111, "fibweb": 9112}[service]
    folder = f"/etc/systemd/system/{service}-metrics.socket.d"
    machine.run("mkdir", folder)
    try:
        edited = f"[Socket]\nListenStream=\nListenStream=127.0.0.9:{port}\n"
        machine.write(f"{folder}/override.conf", edited)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "fib.target")
        found = machine.run("curl", "-sS", f"http://127.0.0.9:{port}/metrics")
        assert f"{service}_build_info" in found
        assert not machine.succeeds("curl", "-sS", f"http://127.0.0.1:{port}/metrics")
    finally:
        machine.run("rm", "-r", folder)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "fib.target")


def test_unix_socket_is_for_its_group_only(machine: BootedMachine) -> None:
    """Members of the group `fib` can use the Unix socket, other users cannot."""
    ask = ["redis-cli", "-s", "/run/fib/fibserver.sock", "PING"]
    nobody = ["runuser", "-u", "nobody"]
    assert "Permission denied" in machine.run(*nobody, "--", *ask, check=False)
    assert machine.run(*nobody, "-g", "fib", "--", *ask) == "PONG\n"


@pytest.mark.parametrize("service", SERVICES)
def test_service_restarts_after_its_main_process_is_killed(
    machine: BootedMachine, service: str
) -> None:
    """A service whose main process is killed is restarted and works."""
    pid = main_pid(machine, service)
    kill(machine, "KILL", pid)
    wait_until_another(machine, service, pid)
    assert json.loads(get(machine, "/fib?start=7000&count=1"))["N"] == 1
    assert machine.property(service, "NRestarts") == "1"


def test_killed_worker_is_replaced_without_restart(machine: BootedMachine) -> None:
    """A killed worker is replaced, without a restart of the service."""
    pid, deaths = main_pid(machine, "fibserver"), int(info_field(machine, "worker_deaths"))
    kill(machine, "KILL", workers(machine)[0])
    wait_until(lambda: int(info_field(machine, "worker_deaths")) == deaths + 1, "another worker")
    assert json.loads(get(machine, "/fib?start=8000&count=1"))["N"] == 1
    assert main_pid(machine, "fibserver") == pid


def test_workers_have_lower_priority(machine: BootedMachine) -> None:
    """The system call filter permits the niceness of workers; fibweb has more CPU weight."""
    niceness = {
        pid: machine.run("ps", "-o", "ni=", "-p", str(pid)).strip()
        for pid in (main_pid(machine, "fibserver"), *workers(machine))
    }
    acceptor, *others = niceness.values()
    assert acceptor == "0"
    assert set(others) == {"5"}
    assert machine.property("fibweb", "CPUWeight") == "200"


def test_watchdog_restarts_hanging_acceptor(machine: BootedMachine) -> None:
    """The watchdog kills an acceptor that hangs, and the service is restarted."""
    pid = main_pid(machine, "fibserver")
    kill(machine, "STOP", pid)
    wait_until_another(machine, "fibserver", pid)
    assert json.loads(get(machine, "/fib?start=9000&count=1"))["N"] == 1
    assert "Watchdog timeout" in machine.journal("fibserver", "-n", "30")


@pytest.mark.parametrize("service", SERVICES)
def test_systemctl_reload_changes_settings(machine: BootedMachine, service: str) -> None:
    """A reload applies reloadable settings; an invalid one fails it and is logged. No restart."""
    pid, path = main_pid(machine, service), f"/etc/fib/{service}.toml"
    before = machine.read(path)
    try:
        machine.write(path, before + '\nlog_level = "debug"\n')
        machine.run("systemctl", "reload", service)
        changed = "reloaded; changed: log_level"
        wait_until(lambda: changed in machine.journal(service), changed)
        machine.write(path, before + '\nlog_level = "loud"\n')
        assert "failed" in machine.run("systemctl", "reload", service, check=False)
        assert "log_level" in machine.journal(service, "-n", "5")
    finally:
        machine.write(path, before)
    machine.run("systemctl", "reload", service)
    assert main_pid(machine, service) == pid
    wait_until(lambda: get(machine, "/readyz") == "ready\n", "a fibserver has replied in time")


def test_stop_finishes_response_in_progress(machine: BootedMachine) -> None:
    """A response in progress is completed if its service is stopped meanwhile."""
    command = [*machine.entering(), "curl", "-sS", "--limit-rate", "40M"]
    command += ["-w", "%{size_download} %{http_code}", "-o", "/dev/null"]
    size = int(machine.run("redis-cli", "-p", "11235", "FIB.SIZE", "0", "30000", "FORMAT", "json"))
    with subprocess.Popen(
        [*command, f"http://127.0.0.1:8080{LARGE}"], stdout=subprocess.PIPE, text=True
    ) as curl:
        wait_until(lambda: in_flight(machine) >= 1, "the download is in progress")
        machine.run("systemctl", "stop", "fibweb")
        out, _ = curl.communicate(timeout=60)
    received, code = out.split()
    assert code == "200"
    assert int(received) > size
    assert machine.property("fibweb", "Result") == "success"


def in_flight(machine: BootedMachine) -> float:
    """Return the number of requests in flight in fibweb."""
    text = machine.run("curl", "-sS", "http://127.0.0.1:9112/metrics")
    found = re.search(r"^fibweb_requests_in_flight (\S+)", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_stop_leaves_nothing(machine: BootedMachine) -> None:
    """After a stop no process, socket or shared memory is left."""
    get(machine, "/fib/1000")
    machine.run("systemctl", "stop", "fib.target")
    sockets = [f"{service}{kind}.socket" for service in SERVICES for kind in ("", "-metrics")]
    units = [*sockets, *SERVICES]
    wait_until(lambda: not machine.succeeds("systemctl", "is-active", *units), "all are stopped")
    assert machine.run("find", "/run", "/dev/shm", "-name", "*fib*", "-o", "-name", "psm_*") == ""
    assert not machine.succeeds("pgrep", "-f", "/opt/fib")


def test_journal_has_priorities(machine: BootedMachine) -> None:
    """Messages of both services have the priority of their level."""
    kill(machine, "KILL", workers(machine)[0])
    for service, priority, text in (
        ("fibserver", "6", "ready on"),
        ("fibserver", "4", "worker"),
        ("fibweb", "6", "ready on"),
    ):

        def messages(service: str = service, priority: str = priority) -> str:
            return machine.journal(service, f"PRIORITY={priority}")

        wait_until(lambda find=messages, text=text: text in find(), text)  # type: ignore[misc]
    assert "ready on" not in machine.journal("fibserver", "-p", "warning")


@pytest.mark.parametrize("service", SERVICES)
def test_invalid_setting_fails_start_once(machine: BootedMachine, service: str) -> None:
    """An invalid setting fails the start and is logged, and systemd does not try again."""
    machine.run("systemctl", "stop", "fib.target", *SERVICES)
    path = f"/etc/fib/{service}.toml"
    before = machine.read(path)
    try:
        machine.write(path, before + "\nthreds = 4\n")
        started = machine.run("systemctl", "start", service, check=False)
        assert "failed" in started
        assert machine.property(service, "ActiveState") == "failed"
        assert machine.property(service, "NRestarts") == "0"
        assert machine.property(service, "ExecMainStatus") == "2"
        assert "threds" in machine.journal(service, "-n", "10")
    finally:
        machine.write(path, before)
        machine.run("systemctl", "reset-failed", service, f"{service}.socket")


def test_numbers_outlive_a_restart(machine: BootedMachine) -> None:
    """A giant number is saved in the state folder, and found there after a restart."""
    get(machine, "/number/1000000")
    machine.run("systemctl", "restart", "fibserver")
    assert machine.run("ls", "/var/lib/fibserver/").strip()
    machine.run("systemctl", "restart", "fibweb")  # which has the number in its own memory
    get(machine, "/number/1000000")
    assert "blocks_found_on_disk:0" not in info(machine)


def test_units_are_valid_and_hardened(machine: BootedMachine) -> None:
    """systemd reports no fault in the units, and an exposure level of 0.3 at most."""
    folder = "/usr/local/lib/systemd/system"
    units = machine.run("sh", "-c", f"ls {folder}/fib*").split()
    assert len(units) == 7
    assert machine.run("systemd-analyze", "verify", "--man=no", *units) == ""
    for service in SERVICES:
        text = machine.run(
            *("systemd-analyze", "security", "--offline=true", "--no-pager"),
            f"{folder}/{service}.service",
        )
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
        assert found is not None
        assert float(found[1]) <= 0.3


def test_help_is_installed(machine: BootedMachine) -> None:
    """The three commands are on PATH, with man pages and completion."""
    for command in ("fibserver", "fibclient", "fibweb"):
        assert machine.run(command, "--version").startswith(command)
        page = machine.read(f"/usr/local/share/man/man1/{command}.1")
        assert f".TH {command} 1" in page
        assert "\\-\\-help" in page
    assert ".SS fibclient doctor" in machine.read("/usr/local/share/man/man1/fibclient.1")
    typed = {"COMP_WORDS": "fibclient doc", "COMP_CWORD": "1"}
    typed["_FIBCLIENT_COMPLETE"] = "bash_complete"
    assert "doctor" in machine.run("fibclient", environment=typed)
    machine.run("bash", "-n", "/usr/local/share/bash-completion/completions/fibclient")
