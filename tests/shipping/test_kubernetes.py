"""The Pods of deploy/kubernetes, run by `podman kube play` in the network of this machine."""

import copy
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from fibclient import FibClient, RequestRefused
from tests.support.expected import fibonacci_text
from tests.support.manifests import Manifest, environment, render
from tests.support.podman import Podman
from tests.support.prometheus import free_port
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.shipping

CLIENTS = 4

NUMBERS = itertools.count(20_000)
"""Numbers that fibweb does not compute by itself; each request is for the next one."""


class Pod:
    """A Pod of one container.

    Attributes:
        name: Name of the Pod.
        ports: Port on 127.0.0.1 by the name of the setting that contains it.
    """

    def __init__(self, podman: Podman, deployment: Manifest) -> None:
        """Refer to the Pod of a Deployment, which need not run yet."""
        self._podman = podman
        self.name = f"{deployment['metadata']['name']}-pod-0"
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        self.container = f"{self.name}-{container['name']}"
        self.ports = {
            name.partition("_")[2]: int(value.rpartition(":")[2])
            for name, value in environment(container).items()
            if name.endswith("LISTEN")
        }

    def run(self, *command: str) -> str:
        """Run a command on the Pod, such as `kill`."""
        return self._podman.run("pod", *command, self.name)

    def execute(self, *command: str) -> str:
        """Run a command in the container."""
        return self._podman.run("exec", self.container, *command)

    def inspect(self) -> Manifest:
        """Return podman's description of the container."""
        (found,) = json.loads(self._podman.run("inspect", self.container))
        return dict(found)

    def requests(self) -> float:
        """Return how many requests for numbers a fibserver has answered."""
        url = self.url("/metrics", "METRICS_LISTEN")
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
            lines = reply.read().decode().splitlines()
        counted = 'fibserver_requests_total{code="OK",command="fib.'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))

    def url(self, path: str, setting: str = "LISTEN") -> str:
        """Return the URL of a path at the address of a setting."""
        return f"http://127.0.0.1:{self.ports[setting]}{path}"


class Cluster:
    """Two fibservers and a fibweb.

    Attributes:
        servers: The Pods of the fibservers.
        web: The Pod of the fibweb.
    """

    def __init__(self, servers: list[Pod], web: Pod) -> None:
        self.servers = servers
        self.web = web

    def health(self) -> list[tuple[int, int]]:
        """Return the status of /healthz and of /readyz, of the fibservers and of the fibweb."""
        probed = [(server, "METRICS_LISTEN") for server in self.servers] + [(self.web, "LISTEN")]
        return [
            (status(pod.url("/healthz", setting)), status(pod.url("/readyz", setting)))
            for pod, setting in probed
        ]

    def wait_until_ready(self) -> None:
        """Wait until all Pods are alive and ready."""
        wait_until(lambda: self.health() == [(200, 200)] * 3, "all Pods are ready")


def status(url: str) -> int:
    """Return the status of the response to GET, 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def deployment_on(deployment: Manifest, name: str, **variables: str) -> Manifest:
    """Return a Deployment of one Pod with a name, volumes and environment variables of its own."""
    changed = copy.deepcopy(deployment)
    changed["metadata"]["name"] = name
    changed["spec"]["replicas"] = 1
    spec = changed["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for volume in (*spec["volumes"], *container["volumeMounts"]):
        if volume["name"] != "password":
            # podman would share a volume of the same name.
            volume["name"] = f"{name}-{volume['name']}"
    for entry in container["env"]:
        if entry["name"] in variables:
            entry["value"] = variables.pop(entry["name"])
    assert not variables
    return changed


@pytest.fixture(scope="module")
def cluster(
    podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The Pods of the overlay for tests, with two fibservers, on free ports."""
    folder = tmp_path_factory.mktemp("kubernetes")
    rendered = {
        (manifest["kind"], manifest["metadata"]["name"].partition("-")[0]): manifest
        for manifest in render("test", folder)
    }
    secret = rendered["Secret", "fib"]
    unique = folder.parent.name  # of this run of pytest
    ports = [free_port() for _ in range(6)]
    servers = [
        deployment_on(
            rendered["Deployment", "fibserver"],
            f"{unique}-fibserver-{number}",
            FIBSERVER_LISTEN=f"127.0.0.1:{ports[2 * number]}",
            FIBSERVER_METRICS_LISTEN=f"127.0.0.1:{ports[2 * number + 1]}",
        )
        for number in range(2)
    ]
    web = deployment_on(
        rendered["Deployment", "fibweb"],
        f"{unique}-fibweb",
        FIBWEB_LISTEN=f"127.0.0.1:{ports[4]}",
        FIBWEB_METRICS_LISTEN=f"127.0.0.1:{ports[5]}",
        FIBWEB_SERVERS=f"127.0.0.1:{ports[0]},127.0.0.1:{ports[2]}",
    )
    for deployment in (*servers, web):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        container["image"] = image
    manifest = folder / "pods.yaml"
    manifest.write_text(yaml.safe_dump_all([secret, *servers, web]))
    running = Cluster([Pod(podman, server) for server in servers], Pod(podman, web))
    try:
        podman.run("kube", "play", str(manifest))
        running.wait_until_ready()
        yield running
    finally:
        podman.run("kube", "down", str(manifest))


def test_pods_serve(cluster: Cluster) -> None:
    """The Pods serve, the fibservers with the password only, and metrics at their own address."""
    with urllib.request.urlopen(cluster.web.url("/fib/10"), timeout=DEADLINE_SECONDS) as reply:
        assert json.load(reply)["result"][-1] == "34"
    assert status(cluster.web.url("/metrics", "METRICS_LISTEN")) == 200
    assert status(cluster.web.url("/metrics")) == 404
    address = f"127.0.0.1:{cluster.servers[0].ports['LISTEN']}"
    with (
        FibClient(address, max_retries=0) as client,
        pytest.raises(RequestRefused, match="NOAUTH"),
    ):
        client.number(10)
    # podman 4.3 does not decode it.
    password = cluster.servers[0].execute("cat", "/run/secrets/fib/password").strip()
    with FibClient(address, password=password) as client:
        assert client.number(100_000) % 1000 == 875


def test_containers_are_confined(cluster: Cluster) -> None:
    """Each container runs as an ordinary user without capabilities, and cannot change its root."""
    for pod in (*cluster.servers, cluster.web):
        shown = pod.execute("sh", "-c", "id -u; cat /proc/1/status; touch /file 2>&1 || true")
        assert shown.startswith("11235\n")
        assert "CapBnd:\t0000000000000000" in shown
        assert "NoNewPrivs:\t1" in shown
        assert "Seccomp:\t2" in shown
        assert "Read-only file system" in shown


class Load:
    """Clients that send requests without a retry, each for another number, until they are stopped.

    Attributes:
        answered: Number of right responses.
        longest_seconds: Longest time of a response.
    """

    def __init__(self, url: str) -> None:
        """Start the clients.

        Args:
            url: URL of a number, without its index.
        """
        self._url = url
        self._changed = threading.Condition()
        self._is_over = False
        self._running = CLIENTS
        self.answered = 0
        self.longest_seconds = 0.0
        self._threads = ThreadPoolExecutor(CLIENTS)
        self._clients = [self._threads.submit(self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        try:
            while not self._is_over:
                self._request(next(NUMBERS))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _request(self, n: int) -> None:
        start = time.monotonic()
        with urllib.request.urlopen(f"{self._url}/{n}", timeout=DEADLINE_SECONDS) as reply:
            value = json.load(reply)["value"]
        seconds = time.monotonic() - start
        assert value == fibonacci_text(n)
        with self._changed:
            self.longest_seconds = max(self.longest_seconds, seconds)
            self.answered += 1
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        """Wait for some more responses, or until a client has failed."""
        with self._changed:
            wanted = self.answered + more
            assert self._changed.wait_for(
                lambda: self.answered >= wanted or self._running < CLIENTS,
                DEADLINE_SECONDS,
            )

    def stop(self) -> None:
        """Stop the clients; raise the error of one that failed."""
        self._is_over = True
        self._threads.shutdown()
        for client in self._clients:
            client.result()


@pytest.mark.parametrize("ending", [("kill",), ("stop", "--time=45")], ids=lambda words: words[0])
def test_nothing_is_lost_with_a_server_pod(cluster: Cluster, ending: tuple[str, ...]) -> None:
    """While a fibserver's Pod is killed or stopped, and replaced, every response is right."""
    before = cluster.servers[1].requests()
    load = Load(cluster.web.url("/number"))
    try:
        load.wait_for(200)
        cluster.servers[0].run(*ending)
        load.wait_for(500)
        cluster.servers[0].run("start")  # as kubelet does, or as a new Pod
        cluster.wait_until_ready()
        load.wait_for(200)
    finally:
        load.stop()
    assert cluster.servers[1].requests() - before >= 500, "fibweb did not have them in memory"
    print(f"{ending[0]}: {load.answered} requests, the longest {load.longest_seconds:.2f} s")


def test_fibweb_outlives_all_fibservers(cluster: Cluster) -> None:
    """Without fibservers fibweb is alive and not ready; it recovers by itself."""
    for server in cluster.servers:
        server.run("kill")
    wait_until(lambda: cluster.health()[2] == (200, 503), "fibweb is alive, and not ready")
    assert status(cluster.web.url("/fib/10")) == 200, "it has these in memory"
    for server in cluster.servers:
        server.run("start")
    cluster.wait_until_ready()


def test_pods_stop_in_time(cluster: Cluster) -> None:
    """Each Pod ends by itself on SIGTERM, without an error."""
    pods = (cluster.web, *cluster.servers)
    for pod in pods:
        pod.run("stop", "--time=45")
        assert pod.inspect()["State"]["ExitCode"] == 0
    for pod in pods:
        pod.run("start")
    cluster.wait_until_ready()
