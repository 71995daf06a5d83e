"""Service under any WSGI server: protocol, settings, processes and metrics."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from wsgiref.validate import validator

import pytest
from falcon import testing

from fibcommon.service.errors import SettingsError
from fibweb.processes.wsgi_application import WsgiApplication
from fibweb.settings import WebSettings
from tests.support.expected import expected
from tests.support.servers import DEADLINE_SECONDS, RunningServer

FORKED = """
import os, sys
from falcon import testing
from fibweb.wsgi import application

def ask():
    web = testing.TestClient(application)
    said = web.simulate_get("/fib/3?format=text").text, web.simulate_get("/readyz").status_code
    assert said == ("0\\n1\\n1\\n", 200), said
    text = web.simulate_get("/metrics").text
    return text.partition("\\nfibweb_processes ")[2].partition("\\n")[0]

assert ask() == "1.0"
pid = os.fork()
if not pid:
    assert ask() == "2.0"
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert ask() == "1.0"
"""


@pytest.fixture(scope="module")
def application(server: RunningServer) -> Iterator[WsgiApplication]:
    """The application, connected to a fibserver."""
    settings = WebSettings(servers=(server.address,), timeout=DEADLINE_SECONDS)
    with closing(WsgiApplication(settings)) as application:
        yield application


@pytest.fixture
def ask(application: WsgiApplication) -> Callable[..., testing.Result]:
    """Function that sends a request through a validator of PEP 3333."""
    strict: Any = validator(application)

    def respond(method: str, target: str, **headers: str) -> testing.Result:
        path, _, query = target.partition("?")
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        environ = testing.create_environ(path, query, method=method, headers=fields)
        # The default objects of Falcon lack some methods.
        environ |= {"wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
        started = testing.StartResponseMock()

        def start(status: str, headers: list[tuple[str, str]]) -> Any:
            return started(status, headers)

        blocks = strict(environ, start)
        body = b"".join(blocks)
        blocks.close()
        return testing.Result([body], str(started.status), started.headers or [])

    return respond


@pytest.mark.parametrize("n", [0, 1, 100, 600, 1000, 3000, 6000])
@pytest.mark.parametrize("format", ["text", "binary"])
def test_responses_of_all_sizes_match_content_length(
    ask: Callable[..., testing.Result], n: int, format: str
) -> None:
    """Responses of all sizes match Content-Length; HEAD has the same headers."""
    target = f"/fib/{n}?format={format}"
    got, head = ask("GET", target), ask("HEAD", target)
    assert (got.status_code, got.content) == (200, expected(format, 0, n))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == got.headers
    assert int(got.headers["content-length"]) == len(got.content)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=100-299999"}, 206),
        ({"Range": "bytes=9999999-"}, 416),
        ({"If_None_Match": '"first-3000-text-1"'}, 304),
        ({"If_Match": '"other"'}, 412),
        ({"Accept": "image/png"}, 406),
    ],
)
def test_ranges_conditions_and_errors(
    ask: Callable[..., testing.Result], headers: dict[str, str], status: int
) -> None:
    """Ranges, conditional requests and errors work as with fibweb's own server."""
    target = "/fib/3000" if "Accept" in headers else "/fib/3000?format=text"
    got = ask("GET", target, **headers)
    assert got.status_code == status
    if status == 206:
        assert got.content == expected("text", 0, 3000)[100:300_000]


@pytest.mark.parametrize(
    "target", ["/", "/page/main.js", "/healthz", "/readyz", "/status", "/metrics", "/openapi.json"]
)
def test_operational_routes_are_served(ask: Callable[..., testing.Result], target: str) -> None:
    """Page, probes and metrics are served."""
    assert ask("GET", target).status_code == 200
    assert ask("OPTIONS", target).status_code == 204


def test_request_id_of_client_is_used(ask: Callable[..., testing.Result]) -> None:
    """The request id of the client is used."""
    got = ask("GET", "/fib/x", X_Request_ID="my-7")
    assert got.json["request_id"] == got.headers["x-request-id"] == "my-7"


def test_requests_are_counted_by_labels(server: RunningServer) -> None:
    """Requests and bytes are counted by route, code, format and handling."""
    with closing(WsgiApplication(WebSettings(servers=(server.address,)))) as application:
        web = testing.TestClient(application)
        large = len(web.simulate_get("/fib/2000?format=text", root_path="/f").content)
        for _ in range(2):
            web.simulate_get("/fib/5?format=csv")
        lines = web.simulate_get("/metrics").text.splitlines()
    for labels, count, size in (
        ('code="200",format="text",handling="threaded",route="/fib/{n}"', 1, large),
        ('code="200",format="csv",handling="threaded",route="/fib/{n}"', 1, 20),
        ('code="200",format="csv",handling="inline",route="/fib/{n}"', 1, 20),
    ):
        assert f"fibweb_requests_total{{{labels}}} {count:.1f}" in lines
        assert f"fibweb_body_bytes_total{{{labels}}} {size:.1f}" in lines
    assert "fibweb_requests_in_flight 1.0" in lines


def test_forked_process_serves(server: RunningServer) -> None:
    """A process forked after the first request serves too; its gauges end with it."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={"FIBWEB_SERVERS": server.address, "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (WebSettings(embedded=True), "embedded: 'true': only fibweb's own server"),
        (
            WebSettings(metrics_listen="127.0.0.1:1"),
            "metrics_listen: '127.0.0.1:1': only fibweb's",
        ),
    ],
)
def test_settings_of_own_server_are_rejected(settings: WebSettings, line: str) -> None:
    """Settings that require fibweb's own server are rejected."""
    with pytest.raises(SettingsError, match=line):
        WsgiApplication(settings)


def test_ignored_settings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Ignored settings are logged."""
    WsgiApplication(WebSettings.load(threads=4, listen="127.0.0.1:1", timeout=3))
    assert [record.getMessage() for record in caplog.records] == [
        "ignoring settings of fibweb's own server: listen, threads"
    ]


def test_uwsgi_without_threads_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI without threads is rejected: the fibservers would not be probed."""

    class Module:
        opt: dict[str, object] = {"module": b"fibweb.wsgi"}  # noqa: RUF012

    monkeypatch.setitem(sys.modules, "uwsgi", Module)
    with pytest.raises(SettingsError, match="enable-threads"):
        WsgiApplication(WebSettings())
    Module.opt["threads"] = b"2"
    WsgiApplication(WebSettings())
