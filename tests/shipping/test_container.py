"""The image: built, run with nothing that it does not need, stopped, killed and upgraded."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.shipping.conftest import IMAGE
from tests.support.expected import digits
from tests.support.podman import BASE, ROOT, Container, Podman
from tests.support.prometheus import Prometheus, free_port
from tests.support.servers import DEADLINE_SECONDS
from tests.support.waiting import wait_until
from tests.systemd.load import LoadClients

pytestmark = pytest.mark.shipping

MAX_ADDED_BYTES = 120 * 10**6

NO_NETWORK = ("--network", "none")
"""With passed sockets, a service needs no network, as in its systemd unit."""

NO_CACHE = {"FIBWEB_CACHE_BYTES": "0"}
"""Settings with which every request of fibweb needs fibserver."""

OPEN = {"FIBSERVER_ALLOW_UNAUTHENTICATED": "true"}
"""Settings with which fibserver needs no password."""

PROBES = 50
"""Requests after each replacement, so that the load continues for a while."""

STOP_TRIES = 3
"""A busy machine may take longer than a second to schedule the processes that end."""

PROMETHEUS_IMAGE = "localhost/prometheus"
PROMETHEUS = f"""\
FROM {BASE}
RUN mkdir /etc/prometheus && install --directory --owner nobody /prometheus
COPY prometheus /bin/prometheus
USER nobody
ENTRYPOINT ["/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml"]
CMD ["--storage.tsdb.path=/prometheus"]
"""
"""Debian's Prometheus with the paths of the image from Docker Hub."""

OVERRIDE = """\
services:
  fibweb:
    environment:
      FIBWEB_CACHE_BYTES: "0"
"""


def get(url: str) -> bytes:
    """Return the body of a response with status 200."""
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as response:
        body: bytes = response.read()
        return body


def serves(url: str) -> bool:
    """Whether a service returns the first numbers."""
    try:
        body = json.loads(get(f"{url}/fib/100"))
    except (OSError, http.client.HTTPException):
        return False
    assert body == {"N": 100, "result": digits(0, 100)}
    return True


@contextmanager
def all_in_one(podman: Podman) -> Iterator[tuple[Container, str]]:
    """Run the command of the image; yield the container and its URL."""
    with podman.container(IMAGE, options=("--network", podman.network)) as container:
        url = f"http://{container.address()}:8080"
        wait_until(lambda: serves(url), f"{url} serves")
        yield container, url


class Services:
    """A fibserver and a fibweb in a container each, on sockets that outlive the containers.

    Attributes:
        port: Port of fibweb.
    """

    def __init__(self, podman: Podman, folder: Path) -> None:
        """Open the sockets, and start both services.

        Args:
            podman: Runs the containers.
            folder: Directory for the socket between both.
        """
        self._podman = podman
        self._folder = folder
        self._folder.chmod(0o755)
        path = folder / "fibserver.sock"
        self._sockets = {
            "fibserver": socket.socket(socket.AF_UNIX),
            "fibweb": socket.create_server(("127.0.0.1", 0)),
        }
        self._sockets["fibserver"].bind(str(path))
        self._sockets["fibserver"].listen()
        path.chmod(0o666)
        self.port: int = self._sockets["fibweb"].getsockname()[1]
        self._running: dict[str, Container] = {}
        self.start("fibserver", IMAGE)
        self.start("fibweb", IMAGE)

    def start(self, name: str, image: str) -> None:
        """Start a service."""
        options = [*NO_NETWORK, f"--volume={self._folder}:/run/fib"]
        address = "unix:/run/fib/fibserver.sock"
        environment = {"FIBSERVER_LISTEN": address, "FIBWEB_SERVERS": address, **NO_CACHE}
        self._running[name] = self._podman.start(
            image, name, options=options, sockets=[self._sockets[name]], environment=environment
        )

    def stop(self, name: str) -> None:
        """Stop a service, which must end by itself."""
        container = self._running.pop(name)
        container.stop()
        assert container.exit_code() == 0, container.logs()
        container.remove()

    def kill(self, name: str) -> None:
        """Kill a service."""
        self._running.pop(name).remove()

    def wait_for_requests(self) -> None:
        """Send some requests, and wait for their responses."""
        for _ in range(PROBES):
            get(f"http://127.0.0.1:{self.port}/fib/100")

    def close(self) -> None:
        """Remove the containers, and close the sockets."""
        for container in self._running.values():
            container.remove()
        for listener in self._sockets.values():
            listener.close()


@pytest.fixture
def services(podman: Podman, image: str, tmp_path: Path) -> Iterator[Services]:
    """Both services, which serve."""
    running = Services(podman, tmp_path)
    try:
        wait_until(lambda: serves(f"http://127.0.0.1:{running.port}"), "the services serve")
        yield running
    finally:
        running.close()


@contextmanager
def load(port: int) -> Iterator[None]:
    """Send requests to a port, none of which may fail, until the context ends."""
    clients = LoadClients(port)
    try:
        yield
    finally:
        figures = clients.stop()
    print(f"{figures['answered']} requests answered")
    assert figures["failures"] == []


def test_image(podman: Podman, image: str) -> None:
    """The image adds little to its base, has an ordinary user, and describes itself."""
    [built] = json.loads(podman.run("image", "inspect", image))
    [base] = json.loads(podman.run("image", "inspect", BASE))
    added = built["Size"] - base["Size"]
    print(f"{added / 1e6:.0f} MB over its base")
    assert added < MAX_ADDED_BYTES
    config = built["Config"]
    assert config["User"] == "11235:11235"
    assert config["StopSignal"] == "SIGTERM"
    assert built["Healthcheck"]["Test"] == ["CMD", "healthcheck"]
    assert built["Labels"]["org.opencontainers.image.version"] == podman.version
    assert built["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_serve_with_restrictions(podman: Podman, image: str) -> None:
    """The image serves with a read-only root, without capabilities, with 64 MiB of /dev/shm."""
    with all_in_one(podman) as (container, url):
        assert len(json.loads(get(f"{url}/fib/20000"))["result"]) == 20_000
        assert len(get(f"{url}/number/1000000")) > 208_987
        assert container.is_healthy()
        assert "memory_limit lowered" in container.logs()
        assert "--shm-size" in container.logs()  # the remedy
        assert container.execute("fibclient", "--version").startswith("fibclient")
        status = container.execute("cat", "/proc/1/status")
        assert "Uid:\t11235\t11235" in status
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        with pytest.raises(AssertionError, match="Read-only file system"):
            container.execute("touch", "/var/lib/fibserver/file")


def test_more_shared_memory(podman: Podman, image: str) -> None:
    """With a larger /dev/shm, `memory_limit` is not lowered."""
    options = [*NO_NETWORK, "--shm-size=768m"]
    with podman.container(image, "fibserver", options=options, environment=OPEN) as container:
        container.wait_for_log("ready on")
        assert "memory_limit" not in container.logs()


def test_fibserver_for_others_requires_a_password(podman: Podman, image: str) -> None:
    """Without a password, fibserver does not start, and the message names the settings."""
    with podman.container(image, "fibserver", options=NO_NETWORK) as container:
        container.wait_for_log("set password_file to require a password, or allow_unauthenticated")


def test_health_of_fibserver(podman: Podman, image: str) -> None:
    """A fibserver that hangs is unhealthy; the check needs no password."""
    # Any file will do: its first line is the password.
    environment = {"FIBSERVER_PASSWORD_FILE": "/etc/passwd"}
    with podman.container(
        image, "fibserver", options=NO_NETWORK, environment=environment
    ) as container:
        container.wait_for_log("ready on")
        assert container.is_healthy()
        os.kill(container.pid(), signal.SIGSTOP)
        assert not container.is_healthy()
        os.kill(container.pid(), signal.SIGCONT)
        assert container.is_healthy()


def test_health_of_fibweb(podman: Podman, image: str) -> None:
    """A fibweb without a fibserver is healthy, since a restart would not help; not if it hangs."""
    with podman.container(image, "fibweb", options=NO_NETWORK) as container:
        container.wait_for_log("ready on")
        assert container.is_healthy()
        os.kill(container.pid(), signal.SIGSTOP)
        assert not container.is_healthy()
        os.kill(container.pid(), signal.SIGCONT)
        assert container.is_healthy()


def test_idle_services_stop_within_a_second(podman: Podman, image: str) -> None:
    """Idle services end on the stop signal; podman kills what has not ended after a second."""
    for command in ([], ["fibserver"], ["fibweb"]):
        codes: list[int] = []
        while 0 not in codes and len(codes) < STOP_TRIES:
            with podman.container(
                image, *command, options=NO_NETWORK, environment=OPEN
            ) as container:
                container.wait_for_log("ready on")
                container.stop(seconds=1)
                codes.append(container.exit_code())
        assert codes[-1] == 0, (command, codes)


def test_response_in_progress_is_completed(podman: Podman, image: str) -> None:
    """A response that is in progress at the stop signal arrives completely."""
    with all_in_one(podman) as (container, url):
        with urllib.request.urlopen(f"{url}/fib/20000", timeout=DEADLINE_SECONDS) as response:
            start = response.read(10)
            with subprocess.Popen(
                ["podman", "stop", "--time", "60", container.name],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=podman.environment,
            ) as stop:
                container.wait_for_log("received SIGTERM")
                body = json.loads(start + response.read())
        assert stop.returncode == 0
        assert body["result"] == digits(0, 20_000)
        assert container.exit_code() == 0


def test_killed_processes_are_replaced(podman: Podman, image: str) -> None:
    """When the embedded fibserver is killed, fibweb replaces it, and reaps all its processes."""
    with all_in_one(podman) as (container, url):
        main = psutil.Process(container.pid())
        [killed] = main.children()
        killed.kill()
        assert len(json.loads(get(f"{url}/fib/3000"))["result"]) == 3000  # not cached
        assert killed not in main.children()

        def zombies() -> list[psutil.Process]:
            return [each for each in main.children() if each.status() == psutil.STATUS_ZOMBIE]

        wait_until(lambda: not zombies(), "zombies are reaped")


def test_fibserver_killed_under_load(services: Services) -> None:
    """A fibserver that is killed and started again loses no request of fibweb's clients."""
    with load(services.port):
        for _ in range(2):
            services.kill("fibserver")
            services.start("fibserver", IMAGE)
            services.wait_for_requests()


def test_upgrade_under_load(podman: Podman, services: Services) -> None:
    """With passed sockets, an upgrade of both services loses no request."""
    podman.build(f"{IMAGE}:next")
    with load(services.port):
        for image in (f"{IMAGE}:next", IMAGE):
            for name in ("fibserver", "fibweb"):
                services.stop(name)
                services.start(name, image)
                services.wait_for_requests()


def test_compose(
    podman: Podman, image: str, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """compose.yaml runs both services and Prometheus; a new fibserver loses no request."""
    (tmp_path / "Containerfile").write_text(PROMETHEUS)
    shutil.copy(program("prometheus"), tmp_path)
    podman.run("build", "--network=none", "--tag", PROMETHEUS_IMAGE, str(tmp_path))
    (tmp_path / "override.yaml").write_text(OVERRIDE)
    ports = {"FIB_PORT": free_port(), "PROMETHEUS_PORT": free_port()}

    def compose(*arguments: str) -> None:
        files = ["--file", str(ROOT / "compose.yaml"), "--file", str(tmp_path / "override.yaml")]
        variables = {name: str(port) for name, port in ports.items()}
        # To a file: a container keeps the standard error of what started it.
        with (tmp_path / "log").open("ab") as log:
            subprocess.run(
                [program("podman-compose"), *files, "--profile", "monitoring", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**podman.environment, "PROMETHEUS_IMAGE": PROMETHEUS_IMAGE, **variables},
                timeout=120,
                check=True,
            )

    with ExitStack() as stack:
        stack.callback(lambda: print((tmp_path / "log").read_text()[-4000:]))
        stack.callback(compose, "down", "--volumes")
        stack.callback(lambda: print(podman.run("logs", "fibservice_fibweb_1")))
        compose("up", "--detach")
        url = f"http://127.0.0.1:{ports['FIB_PORT']}"
        wait_until(lambda: serves(url), f"{url} serves")
        for name in ("fibserver", "fibweb"):
            assert Container(podman, f"fibservice_{name}_1").is_healthy()
        prometheus = Prometheus(ports["PROMETHEUS_PORT"])
        for job in ("fibserver", "fibweb", "prometheus"):
            prometheus.wait_until_up(job)
        with load(ports["FIB_PORT"]):
            compose("up", "--detach", "--force-recreate", "--no-deps", "fibserver")
        wait_until(lambda: all_rules_have_run(prometheus), "all rules have run")


def all_rules_have_run(prometheus: Prometheus) -> bool:
    """Whether Prometheus has evaluated all rules; a failed one is an error."""
    try:
        return bool(prometheus.rules())
    except AssertionError as error:
        if "unknown" in str(error):  # not evaluated yet
            return False
        raise
