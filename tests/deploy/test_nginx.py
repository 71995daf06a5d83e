"""nginx as a cache in front of fibweb, with the very configuration in deploy/nginx."""

import getpass
import hashlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fibclient import FibClient
from tests.deploy.balancers import DEPLOY, listening
from tests.deploy.prometheus import free_port
from tests.fibweb.running import metrics, start_fibweb
from tests.servers import DEADLINE_SECONDS, RunningServer
from tests.waiting import wait_until

MAIN = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/fib.conf;
}}
"""


class Cache:
    """A running nginx in front of a fibweb.

    Attributes:
        web: the fibweb.
        address: where nginx listens.
    """

    def __init__(self, web: RunningServer, address: str) -> None:
        self.web = web
        self.address = address

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, str, int]:
        """Return the body at a path, whether it came from the cache, and the code."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", headers=dict(headers or {})
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as reply:
            return reply.read(), reply.headers.get("X-Cache-Status", ""), reply.status

    def asked(self) -> float:
        """Return how many answers with numbers fibweb has given."""
        found = metrics(self.web)
        return sum(
            value
            for name, value in found.items()
            if name.startswith("fibweb_requests_total") and "/fib" in name
        )


@pytest.fixture
def cache(server: RunningServer, program: Callable[[str], str], tmp_path: Path) -> Iterator[Cache]:
    """nginx with an empty cache, where one client may ask as often as it likes."""
    path = program("nginx")
    web = start_fibweb(tmp_path / "fibweb.log", "--servers", server.address)
    address = f"127.0.0.1:{free_port()}"
    folder = tmp_path / "nginx"
    folder.mkdir()
    replaced = {
        "listen 80;": f"listen {address};",
        "192.0.2.1:8080": f"127.0.0.1:{web.port}",
        "    server 192.0.2.2:8080 max_fails=2 fail_timeout=5s;\n": "",
        "/var/cache/nginx/fib": f"{folder}/cache",
    }
    text = (DEPLOY / "nginx" / "fib.conf").read_text()
    for before, after in replaced.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "fib.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=getpass.getuser()))
    command = [path, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run(
        [*command, "-t"], stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
        try:
            wait_until(lambda: listening(address), "nginx listens")
            yield Cache(web, address)
        finally:
            nginx.terminate()
            nginx.wait(DEADLINE_SECONDS)
            web.stop()


def test_an_answer_is_asked_for_once(cache: Cache) -> None:
    """The second request is answered by nginx, with the same bytes."""
    first, again = cache.get("/fib/1000"), cache.get("/fib/1000")
    assert (first[1], again[1]) == ("MISS", "HIT")
    assert first[0] == again[0]
    assert json.loads(first[0])["N"] == 1000
    assert cache.asked() == 1


def test_formats_are_told_apart(cache: Cache) -> None:
    """By Accept as well as by ?format=."""
    for _ in range(2):
        assert cache.get("/fib/3")[0] == b'{"N": 3, "result": ["0","1","1"]}'
        assert cache.get("/fib/3", {"Accept": "*/*"})[0].startswith(b"{")
        assert cache.get("/fib/3", {"Accept": "text/csv"})[0] == b"0,0\n1,1\n2,1\n"
        assert cache.get("/fib/3?format=text")[0] == b"0\n1\n1\n"
    assert cache.asked() == 3


def test_a_crowd_asks_once(cache: Cache) -> None:
    """Many who miss the same at the same time wait for one answer."""
    with ThreadPoolExecutor(16) as threads:
        bodies = list(threads.map(lambda _: cache.get("/fib/3000")[0], range(16)))
    assert len(set(bodies)) == 1
    assert cache.asked() == 1 + len(bodies[0]) // 2**20


def test_errors_are_not_kept(cache: Cache) -> None:
    """A bad request is told so each time."""
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as caught:
            cache.get("/fib/x")
        with caught.value as error:
            assert error.code == 400
            assert json.load(error)["status"] == 400
    assert cache.asked() == 2


def test_large_answers_come_in_slices(cache: Cache, server: RunningServer) -> None:
    """A range costs its slices alone, and the whole is right to the last byte."""
    size = int(urllib.request.urlopen(head(cache, "/fib/10000")).headers["Content-Length"])
    begin = size - 100
    before = cache.asked()
    end, _, code = cache.get("/fib/10000", {"Range": f"bytes={begin}-"})
    assert (len(end), code) == (100, 206)
    assert cache.asked() - before == 1
    whole, _, code = cache.get("/fib/10000")
    assert (len(whole), code) == (size, 200)
    assert whole.endswith(end)
    with FibClient(server.address) as client:
        expected = b'{"N": 10000, "result": [' + client.read(0, 10_000, "json") + b"]}"
    assert hashlib.sha256(whole).digest() == hashlib.sha256(expected).digest()
    asked = cache.asked()
    assert cache.get("/fib/10000")[0] == whole
    assert cache.asked() == asked


def head(cache: Cache, path: str) -> urllib.request.Request:
    """Return a HEAD request."""
    return urllib.request.Request(f"http://{cache.address}{path}", method="HEAD")


def test_without_fibweb(cache: Cache) -> None:
    """What was asked for before is answered still, the rest is an error."""
    known = cache.get("/fib/500")[0]
    cache.web.stop()
    assert cache.get("/fib/500")[0] == known
    with pytest.raises(urllib.error.HTTPError) as caught:
        cache.get("/fib/501")
    with caught.value as error:
        assert error.code in (502, 504)


def test_a_client_in_a_hurry(cache: Cache) -> None:
    """Who asks more than is good for others is told so, and others are answered."""
    codes = []
    for _ in range(400):
        try:
            codes.append(cache.get("/fib/1")[2])
        except urllib.error.HTTPError as error:
            with error:
                codes.append(error.code)
    assert set(codes) == {200, 429}
    assert re.search(r"limiting requests", (nginx_log(cache)).read_text())


def nginx_log(cache: Cache) -> Path:
    """Return the error log of nginx."""
    return cache.web.log.parent / "nginx" / "error.log"


def test_operations_are_not_for_everybody(cache: Cache) -> None:
    """The page is; metrics are for this host."""
    assert cache.get("/")[0].startswith(b"<!doctype html>")
    assert b"fibweb_build_info" in cache.get("/metrics")[0]  # asked from this very host
    assert "deny all;" in (DEPLOY / "nginx" / "fib.conf").read_text()
