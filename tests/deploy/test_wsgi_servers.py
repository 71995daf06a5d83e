"""fibweb.wsgi under real WSGI servers, with the files of deploy/wsgi on other addresses."""

import http.client
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.conftest import missing
from tests.support.balancers import DEPLOY, listening
from tests.support.expected import expected
from tests.support.prometheus import free_port
from tests.support.servers import DEADLINE_SECONDS, start_server
from tests.support.waiting import wait_until

ROOT = DEPLOY.parent
FILES = DEPLOY / "wsgi"
DEBIAN = Path("/usr/bin/python3")
SERVERS = ("gunicorn", "gunicorn without preload", "uwsgi", "apache")
APACHE = """
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Listen {address}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_host_module {modules}/mod_authz_host.so
LoadModule wsgi_module {modules}/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
Include {folder}/fib.conf
"""
MODULES = "/usr/lib/apache2/modules"


class WsgiServer:
    """A running WSGI server.

    Attributes:
        prefix: Path prefix of the application.
        fibserver: Its fibserver, which tests can stop and start again.
    """

    def __init__(self, address: str, prefix: str, fibserver: "RestartableFibserver") -> None:
        self._address = address
        self.prefix = prefix
        self.fibserver = fibserver

    def ask(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status code, headers and body of a response."""
        with self.open(target, method, headers) as reply:
            return reply.status, reply.headers, reply.read()

    @contextmanager
    def open(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a response whose body has not been read."""
        connection = http.client.HTTPConnection(self._address, timeout=DEADLINE_SECONDS)
        with closing(connection):
            connection.request(method, self.prefix + target, headers=dict(headers or {}))
            with connection.getresponse() as reply:
                yield reply

    def metric(self, name: str) -> float:
        """Return the sum of the samples of a metric."""
        lines = self.ask("/metrics")[2].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


class RestartableFibserver:
    """A fibserver on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._log, self.address = folder / "fibserver.log", f"unix:{folder}/fibserver.sock"
        self.start()

    def start(self) -> None:
        """Start the fibserver."""
        self.server = start_server(self._log, "--listen", self.address)

    def stop(self) -> None:
        """Kill the fibserver, with all requests in flight."""
        self.server.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def home() -> Iterator[Callable[[], Path]]:
    """A virtual environment with fibweb, for servers with Debian's Python built in."""
    # Not below pytest's folder, which is for its user alone.
    temporary = TemporaryDirectory()
    folder = Path(temporary.name)
    folder.chmod(0o755)

    def create() -> Path:
        if not DEBIAN.exists():
            missing("Debian's Python")
        path = folder / "venv"
        if path.exists():
            return path
        subprocess.run([DEBIAN, "-m", "venv", "--without-pip", path], check=True)
        packages = path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
        if packages.exists():  # what is installed here will do
            ours = sysconfig.get_path("purelib")
            line = f"import site; site.addsitedir({ours!r})\n"
            (packages / "site-packages" / "ours.pth").write_text(line)
        else:
            source = folder / "source"
            hidden = shutil.ignore_patterns(".*", "build", "node_modules")
            shutil.copytree(ROOT, source, ignore=hidden)
            pip = [sys.executable, "-m", "pip", "--python", str(path / "bin" / "python")]
            subprocess.run([*pip, "install", "--quiet", str(source)], check=True)
        return path

    with temporary:
        yield create


def changed(name: str, changes: Mapping[str, str]) -> str:
    """Return a file of deploy/wsgi with some replacements."""
    text = (FILES / name).read_text()
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def gunicorn(address: str, *arguments: str) -> list[str]:
    """Return the command that runs gunicorn."""
    return [sys.executable, "-m", "gunicorn", "--bind", address, *arguments]


def uwsgi(folder: Path, address: str, path: str, home: Path) -> list[str]:
    """Return the command that runs uWSGI."""
    if not Path("/usr/lib/uwsgi/plugins/python3_plugin.so").exists():
        missing("uWSGI's plugin for Python")
    changes = {"127.0.0.1:8080": address, "/srv/fib/venv": str(home)}
    (folder / "uwsgi.ini").write_text(changed("uwsgi.ini", changes))
    return [path, str(folder / "uwsgi.ini")]


def apache(folder: Path, address: str, path: str, home: Path, servers: str) -> list[str]:
    """Return the command that runs Apache; it must not run as root."""
    if not Path(MODULES, "mod_wsgi.so").exists():
        missing("Apache's mod_wsgi")
    changes = {"/srv/fib/venv": str(home), "/srv/fib": str(folder)}
    (folder / "fib.conf").write_text(changed("apache.conf", changes))
    (folder / "fib.wsgi").write_text(changed("fib.wsgi", {"127.0.0.1:11235": servers}))
    configuration = APACHE.format(folder=folder, address=address, modules=MODULES)
    (folder / "apache.conf").write_text(configuration)
    command = [path, "-D", "FOREGROUND", "-f", str(folder / "apache.conf")]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam("www-data")
    os.chown(folder, user.pw_uid, user.pw_gid)
    # The checkout may be where only root gets.
    capability = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *identity, *capability, *command]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SERVERS],
)
def web(
    request: pytest.FixtureRequest,
    program: Callable[[str], str],
    home: Callable[[], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WsgiServer]:
    """Each of the servers, with its own fibserver."""
    folder, address, prefix = tmp_path_factory.mktemp("wsgi"), f"127.0.0.1:{free_port()}", ""
    fibserver = RestartableFibserver(folder)
    environment = {"FIBWEB_SERVERS": fibserver.address, "FIBWEB_TIMEOUT": "1.5"}
    match request.param:
        case "gunicorn":
            command = gunicorn(address, "--config", str(FILES / "gunicorn.conf.py"))
        case "gunicorn without preload":
            command = gunicorn(address, "--workers", "2", "fibweb.wsgi:application")
            prefix = environment["SCRIPT_NAME"] = "/f"
        case "uwsgi":
            command = uwsgi(folder, address, program("uwsgi"), home())
        case _:
            command = apache(folder, address, program("apache2"), home(), fibserver.address)
            prefix = "/f"
    log = folder / "log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=folder, env=os.environ | environment
        )
    family = psutil.Process(child.pid)

    def is_ready() -> bool:
        assert child.poll() is None, log.read_text()
        return listening(address)

    try:
        wait_until(is_ready, f"{request.param} listens")
        yield WsgiServer(address, prefix, fibserver)
        rest = family.children(recursive=True)
    finally:
        child.terminate()
        child.wait(DEADLINE_SECONDS)
        fibserver.server.stop()
    assert not psutil.wait_procs(rest, DEADLINE_SECONDS)[1]


@pytest.mark.parametrize("n", [0, 10, 600, 1000, 3000, 9000])
def test_wsgi_servers_send_all_sizes(web: WsgiServer, n: int) -> None:
    """Responses of all sizes are right; HEAD has the same headers."""
    code, headers, body = web.ask(f"/fib/{n}?format=text")
    assert (code, body) == (200, expected("text", 0, n))
    head, its_headers, nothing = web.ask(f"/fib/{n}?format=text", "HEAD")
    assert (head, nothing) == (200, b"")
    if n:  # Apache leaves out a length of 0
        assert its_headers["Content-Length"] == headers["Content-Length"]
    for name in ("Content-Type", "ETag", "Cache-Control", "Accept-Ranges"):
        assert its_headers[name] == headers[name]
    assert headers["Content-Length"] == str(len(body))


def test_wsgi_servers_serve_byte_ranges(web: WsgiServer) -> None:
    """A range gets its bytes; one after the end is rejected."""
    whole = expected("text", 0, 3000)
    code, headers, body = web.ask("/fib/3000?format=text", headers={"Range": "bytes=99-300098"})
    assert (code, body) == (206, whole[99:300_099])
    assert headers["Content-Range"] == f"bytes 99-300098/{len(whole)}"
    assert web.ask("/fib/3000", headers={"Range": "bytes=99999999-"})[0] == 416


def test_wsgi_servers_send_304(web: WsgiServer) -> None:
    """A client with a current copy gets 304."""
    tag = {"If-None-Match": '"first-3000-text-1"'}
    code, headers, body = web.ask("/fib/3000?format=text", headers=tag)
    assert (code, headers["ETag"], body) == (304, tag["If-None-Match"], b"")


@pytest.mark.parametrize(
    ("target", "code"),
    [("/fib/-1", 400), ("/fib/%31", 400), ("/number/99999999", 400), ("/x", 404)],
)
def test_wsgi_servers_send_problem_details(web: WsgiServer, target: str, code: int) -> None:
    """Errors are problem details with the requested path."""
    status, headers, body = web.ask(target)
    assert (status, headers["Content-Type"]) == (code, "application/problem+json")
    assert json.loads(body)["instance"] == web.prefix + target.replace("%31", "1")


def test_page_and_probes(web: WsgiServer) -> None:
    """The page, the probes and the API description are below the prefix."""
    for target in ("/", "/page/main.js", "/healthz", "/readyz", "/status", "/openapi.json"):
        assert web.ask(target)[0] == 200
    if web.prefix:
        code, headers, _ = web.ask("")
        assert code == 301
        assert headers["Location"].endswith("/f/")


def test_wsgi_servers_count_requests_of_all_processes(
    web: WsgiServer, request: pytest.FixtureRequest
) -> None:
    """The metrics cover all processes if these were forked after the import."""
    before = web.metric("fibweb_requests_total")
    with ThreadPoolExecutor(8) as threads:
        codes = set(threads.map(lambda n: web.ask(f"/fib/{n}")[0], range(40)))
    assert codes == {200}
    if "without preload" not in request.node.name:
        wait_until(lambda: web.metric("fibweb_requests_total") >= before + 40, "all are counted")


def test_a_dead_fibserver(web: WsgiServer) -> None:
    """Without its fibserver a download ends early and requests get 503, until it is back."""
    with web.open("/fib?start=100000&count=2000&format=text") as reply:
        assert reply.status == 200
        assert reply.read(100_000)
        web.fibserver.stop()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            reply.read()
    code, headers, body = web.ask("/number/12345")
    assert (code, headers["Content-Type"]) == (503, "application/problem+json")
    assert headers["Retry-After"]
    assert "fibserver is unavailable" in json.loads(body)["detail"]
    assert web.ask("/healthz")[0] == 200
    wait_until(lambda: web.ask("/readyz")[0] == 503, "it is not ready")
    web.fibserver.start()
    wait_until(lambda: web.ask("/number/12345")[0] == 200, "it responds again")
    wait_until(lambda: web.ask("/readyz")[0] == 200, "it is ready again")
