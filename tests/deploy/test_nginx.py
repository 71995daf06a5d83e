"""nginx as a cache in front of fibweb, with the configuration in deploy/nginx."""

import gzip
import hashlib
import http.client
import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from fibclient import FibClient
from tests.support.balancers import DEPLOY, Behaviour, FakeFibweb, run_nginx
from tests.support.fibweb_process import metrics, start_fibweb
from tests.support.prometheus import free_port
from tests.support.servers import DEADLINE_SECONDS, RunningServer
from tests.support.waiting import wait_until

Program = Callable[[str], str]


class Reply(NamedTuple):
    """Response of nginx."""

    code: int
    headers: http.client.HTTPMessage
    body: bytes


class Cache:
    """A running nginx.

    Attributes:
        address: Address on which it listens.
        log: Its error log.
    """

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, str, int]:
        """Return the body at a path, whether the cache had it, and the status code."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", headers=dict(headers or {})
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as reply:
            return reply.read(), reply.headers.get("X-Cache-Status", ""), reply.status

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        source: str = "127.0.0.1",
        **headers: str,
    ) -> Reply:
        """Return the response to a client with an address, errors included."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(
            host, int(port), timeout=DEADLINE_SECONDS, source_address=(source, 0)
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()


class WebCache(Cache):
    """A running nginx in front of a fibweb.

    Attributes:
        web: The fibweb.
    """

    def __init__(self, cache: Cache, web: RunningServer) -> None:
        super().__init__(cache.address, cache.log)
        self.web = web

    def asked(self) -> float:
        """Return the number of responses with numbers that fibweb has sent."""
        found = metrics(self.web)
        return sum(
            value
            for name, value in found.items()
            if name.startswith("fibweb_requests_total") and "/fib" in name
        )


@contextmanager
def nginx_before(
    path: str, webs: Sequence[str], folder: Path, changes: Mapping[str, str]
) -> Iterator[Cache]:
    """Run nginx with an empty cache in front of running fibwebs.

    Args:
        path: Path of nginx.
        webs: Addresses of one or two fibwebs.
        folder: Directory for all files.
        changes: Changes to the configuration besides the addresses.
    """
    own = folder / "nginx"
    own.mkdir()
    address = f"127.0.0.1:{free_port()}"
    replaced = {
        "listen 80 default_server;": f"listen {address};",
        "192.0.2.1:8080": webs[0],
        "/var/lib/nginx/fib": f"{own}/cache",
        **changes,
    }
    if len(webs) > 1:
        replaced["192.0.2.2:8080"] = webs[1]
    else:
        replaced["    server 192.0.2.2:8080 max_fails=2 fail_timeout=5s;\n"] = ""
    text = (DEPLOY / "nginx" / "fib.conf").read_text()
    for before, after in replaced.items():
        assert before in text
        text = text.replace(before, after)
    with run_nginx(path, own, text, address) as log:
        yield Cache(address, log)


@contextmanager
def running_nginx(
    path: str, server: RunningServer, folder: Path, changes: Mapping[str, str]
) -> Iterator[WebCache]:
    """Run nginx with an empty cache in front of one fibweb.

    Args:
        path: Path of nginx.
        server: A fibserver for the fibweb.
        folder: Directory for all files.
        changes: Changes to the configuration besides the addresses.
    """
    with ExitStack() as stack:
        web = start_fibweb(folder / "fibweb.log", "--servers", server.address)
        stack.callback(web.stop)
        address = f"127.0.0.1:{web.port}"
        cache = stack.enter_context(nginx_before(path, [address], folder, changes))
        yield WebCache(cache, web)


@pytest.fixture
def cache(server: RunningServer, program: Program, tmp_path: Path) -> Iterator[WebCache]:
    """nginx with the configuration in deploy/nginx."""
    with running_nginx(program("nginx"), server, tmp_path, {}) as running:
        yield running


def test_configuration_fits_debian(program: Program, mounting: Callable[[str], list[str]]) -> None:
    """Debian's nginx.conf includes the file unchanged, once the default site is removed."""
    path = program("nginx")
    folders = ("/etc/nginx/conf.d", "/etc/nginx/sites-enabled", "/var/lib/nginx", "/run")
    mounts = [f"mount -t tmpfs none {folder}" for folder in (*folders, "/var/log/nginx")]
    copied = f"cp '{DEPLOY}/nginx/fib.conf' /etc/nginx/conf.d/"
    done = subprocess.run(
        [*mounting(" && ".join([*mounts, copied])), path, "-t"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "[warn]" not in done.stdout


def test_second_request_is_answered_from_cache(cache: WebCache) -> None:
    """The second request is answered by nginx, with the same bytes."""
    first, again = cache.get("/fib/1000"), cache.get("/fib/1000")
    assert (first[1], again[1]) == ("MISS", "HIT")
    assert first[0] == again[0]
    assert json.loads(first[0])["N"] == 1000
    assert cache.asked() == 1


@pytest.mark.parametrize(
    "target",
    [
        "/digits/1000",
        f"/digits/{10**100}?last=5",
        "/number/1000?mod=97",
        "/index/832040",
        f"/index/{10**3999}",
        "/index?digits=1000",
    ],
)
def test_documents_about_single_numbers_are_cached(cache: WebCache, target: str) -> None:
    """Digits, remainders and indices never change, so they are answered by nginx as well."""
    first, again = cache.ask(target), cache.ask(target, Range="bytes=0-0")
    assert [reply.headers["X-Cache-Status"] for reply in (first, again)] == ["MISS", "HIT"]
    assert first.code == 200
    assert json.loads(first.body)
    assert again.body == {200: first.body, 206: first.body[:1]}[again.code]


def test_what_may_change_is_not_cached(cache: WebCache) -> None:
    """Limits, the reference and other documents come from fibweb each time."""
    for target in ("/limits", "/problems/too-large", "/docs", "/favicon.ico", "/robots.txt"):
        reply = cache.ask(target)
        assert reply.code == 200
        assert "X-Cache-Status" not in reply.headers


def test_cache_distinguishes_formats(cache: WebCache) -> None:
    """Formats by Accept and by ?format= are cached separately."""
    for _ in range(2):
        assert cache.get("/fib/3")[0] == b'{"N": 3, "result": ["0","1","1"]}'
        assert cache.get("/fib/3", {"Accept": "*/*"})[0].startswith(b"{")
        assert cache.get("/fib/3", {"Accept": "text/csv"})[0] == b"0,0\n1,1\n2,1\n"
        assert cache.get("/fib/3?format=text")[0] == b"0\n1\n1\n"
    assert cache.asked() == 3


def test_cache_distinguishes_origins(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    """Allowed origins get their CORS headers, from the cache as well; others fill no cache."""
    origins = ("https://a.example", "https://b.example", "http://[::1]:8080")
    web = start_fibweb(
        tmp_path / "log",
        *("--servers", server.address),
        FIBWEB_ALLOWED_ORIGINS=",".join(origins),
    )
    try:
        with nginx_before(program("nginx"), [f"127.0.0.1:{web.port}"], tmp_path, {}) as nginx:
            for origin in ("", *origins, *origins):
                reply = nginx.ask("/fib/77", Origin=origin)
                assert reply.headers.get("Access-Control-Allow-Origin", "") == origin
            assert reply.headers["X-Cache-Status"] == "HIT"
            for _ in range(2):
                reply = nginx.ask("/fib/77", Origin="https://c.example")
                assert "Access-Control-Allow-Origin" not in reply.headers
                assert reply.headers["X-Cache-Status"] == "MISS"
    finally:
        web.stop()


def test_concurrent_misses_share_one_request(cache: WebCache) -> None:
    """Fifty concurrent misses of one response wait for one request."""

    def ask(number: int) -> Reply:
        # One client may ask 20 times at once.
        return cache.ask("/fib/2500", source=f"127.0.0.{2 + number % 5}")

    with ThreadPoolExecutor(50) as threads:
        replies = list(threads.map(ask, range(50)))
    assert {reply.code for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert len(replies[0].body) < 2**20  # it is one slice
    assert cache.asked() == 1


def test_connections_to_fibweb_are_kept(cache: WebCache) -> None:
    """Misses reuse connections to fibweb."""

    def connections() -> set[object]:
        found = cache.web.process.net_connections("tcp")
        return {
            each.raddr
            for each in found
            if each.status == "ESTABLISHED" and each.laddr.port == cache.web.port
        }

    cache.ask("/fib/0")
    before = connections()
    for n in range(1, 30):
        assert cache.ask(f"/fib/{n}").headers["X-Cache-Status"] == "MISS"
    assert before & connections()


def test_cache_headers_are_passed_on(cache: WebCache) -> None:
    """Headers are passed on from fibweb and from the cache; 304 and HEAD work."""
    for status in ("MISS", "HIT"):
        reply = cache.ask("/fib/100?format=text")
        assert reply.headers["X-Cache-Status"] == status
        assert reply.headers["ETag"] == '"first-100-text-1"'
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert set(reply.headers.get_all("Vary", [])) == {"Accept", "Accept-Encoding"}
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    known = cache.ask("/fib/100?format=text", If_None_Match='"first-100-text-1"')
    assert (known.code, known.body) == (304, b"")
    assert cache.ask("/fib/100?format=text", If_None_Match='"another"').body == reply.body
    head = cache.ask("/fib/100?format=text", "HEAD")
    assert (head.code, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(reply.body)
    assert cache.asked() == 1


@pytest.mark.parametrize("n", [0, 40])
def test_nginx_serves_byte_ranges(cache: WebCache, n: int) -> None:
    """A range gets its bytes; one after the end is rejected, and any of an empty response."""
    path = f"/fib/{n}?format=text"
    whole = cache.ask(path).body
    assert len(whole.split()) == n
    assert cache.ask(path, Range="bytes=100000-").code == 416
    if n:
        for words, part in (("0-9", whole[:10]), ("5-", whole[5:]), ("-7", whole[-7:])):
            reply = cache.ask(path, Range=f"bytes={words}")
            assert (reply.code, reply.body) == (206, part)
            assert reply.headers["Content-Range"].endswith(f"/{len(whole)}")


def test_bodies_are_dropped(cache: WebCache) -> None:
    """A request with a body gets a response, and its body is not parsed as a request."""
    body = b"GET /fib/5 HTTP/1.1\r\nHost: x\r\n\r\n"
    assert cache.ask("/fib/3", body=body).body == b'{"N": 3, "result": ["0","1","1"]}'
    assert cache.ask("/fib/3", "POST", body).code == 405
    assert cache.ask("/", "POST", body).code == 405
    assert cache.ask("/fib/4").body == b'{"N": 4, "result": ["0","1","1","2"]}'


def test_errors_are_not_kept(cache: WebCache) -> None:
    """Errors are not cached."""
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as caught:
            cache.get("/fib/x")
        with caught.value as error:
            assert error.code == 400
            assert json.load(error)["status"] == 400
    assert cache.asked() == 2


def test_range_fetches_only_its_slices(cache: WebCache, server: RunningServer) -> None:
    """A range fetches only its slices, and the complete response is right."""
    size = int(urllib.request.urlopen(head(cache, "/fib/10000")).headers["Content-Length"])
    wait_until(lambda: cache.asked() == 1, "the slice that HEAD asked for is counted")
    begin = size - 100
    end, _, code = cache.get("/fib/10000", {"Range": f"bytes={begin}-"})
    assert (len(end), code) == (100, 206)
    assert cache.asked() == 2
    whole, _, code = cache.get("/fib/10000")
    assert (len(whole), code) == (size, 200)
    assert whole.endswith(end)
    with FibClient(server.address) as client:
        expected = b'{"N": 10000, "result": [' + client.read(0, 10_000, "json") + b"]}"
    assert hashlib.sha256(whole).digest() == hashlib.sha256(expected).digest()
    asked = cache.asked()
    assert asked == -(-size // 2**20)  # each slice once
    assert cache.get("/fib/10000")[0] == whole
    assert cache.asked() == asked


LONG = "/fib/10000"
"""Several slices."""


@pytest.mark.parametrize("format", ["json", "text", "csv", "ndjson", "bfile"])
def test_numbers_are_compressed(cache: WebCache, format: str) -> None:
    """A client that accepts gzip gets the same content in less bytes, from the cache as well."""
    target = f"/fib/1000?format={format}"
    for status in ("MISS", "HIT"):
        reply = cache.ask(target, Accept_Encoding="gzip, deflate, br")
        assert reply.headers["X-Cache-Status"] == status
        assert reply.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in ", ".join(reply.headers.get_all("Vary", []))
        plain = cache.ask(target)
        assert plain.headers["Content-Encoding"] is None
        assert "Accept-Encoding" in ", ".join(plain.headers.get_all("Vary", []))
        assert gzip.decompress(reply.body) == plain.body
        assert len(reply.body) < 0.55 * len(plain.body)
    assert cache.asked() == 1


def test_compressed_response_of_several_slices(cache: WebCache) -> None:
    """A response of several slices is compressed as a whole."""
    assert gzip.decompress(cache.ask(LONG, Accept_Encoding="gzip").body) == cache.ask(LONG).body


@pytest.mark.parametrize(
    ("target", "selected"),
    [
        ("/fib/1000?format=binary", ""),
        ("/fib/10", ""),
        ("/fib/1000?download", ""),
        ("/fib/1000?format=text&download=", ""),
        (LONG, "bytes=2000000-2000099"),
        (LONG, "bytes=-1"),
    ],
)
def test_what_is_not_compressed(cache: WebCache, target: str, selected: str) -> None:
    """Ranges, downloads, small and binary responses are sent as they are, with their size."""
    for _ in range(2):
        reply = cache.ask(target, Accept_Encoding="gzip", Range=selected)
        assert reply.headers["Content-Encoding"] is None
        assert reply.headers["Content-Length"] == str(len(reply.body))
        assert reply.body == cache.ask(target, Range=selected).body
        assert reply.code == (206 if selected else 200)


def test_head_has_the_size(cache: WebCache) -> None:
    """The response to HEAD has the size of the numbers, which the page shows."""
    for _ in range(2):
        reply = cache.ask(LONG, "HEAD", Accept_Encoding="gzip")
        assert reply.headers["Content-Length"] == str(len(cache.ask(LONG).body))


def test_conditional_requests_for_compressed_responses(cache: WebCache) -> None:
    """The weak tag of a compressed response revalidates it, and joins no ranges with it."""
    strong = cache.ask("/fib/1000").headers["ETag"]
    weak = cache.ask("/fib/1000", Accept_Encoding="gzip").headers["ETag"]
    assert weak == f"W/{strong}"
    for tag in (strong, weak):
        assert cache.ask("/fib/1000", Accept_Encoding="gzip", If_None_Match=tag).code == 304
    for tag, code in ((strong, 206), (weak, 200)):
        part = cache.ask("/fib/1000", Accept_Encoding="gzip", Range="bytes=0-9", If_Range=tag)
        assert part.code == code


@pytest.mark.parametrize("target", ["/", "/openapi.json", "/page/main.js"])
def test_documents_of_fibweb_are_compressed_once(cache: WebCache, target: str) -> None:
    """What fibweb has compressed is passed on."""
    reply = cache.ask(target, Accept_Encoding="gzip")
    assert reply.headers["Content-Encoding"] == "gzip"
    assert not reply.headers["ETag"].startswith("W/")
    assert gzip.decompress(reply.body) == cache.ask(target).body


def head(cache: WebCache, path: str) -> urllib.request.Request:
    """Send a HEAD request."""
    return urllib.request.Request(f"http://{cache.address}{path}", method="HEAD")


def test_cached_responses_without_fibweb(cache: WebCache) -> None:
    """Without fibweb, cached responses are sent; other requests fail."""
    known = cache.get("/fib/500")[0]
    cache.web.stop()
    assert cache.get("/fib/500")[0] == known
    with pytest.raises(urllib.error.HTTPError) as caught:
        cache.get("/fib/501")
    with caught.value as error:
        assert error.code in (502, 504)


def test_stale_response_without_fibweb(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    """An expired response is sent while no fibweb responds."""
    changes = {
        "proxy_ignore_headers Vary;": "proxy_ignore_headers Vary Cache-Control;",
        "proxy_cache_valid 200 206 1y;": "proxy_cache_valid 200 206 1s;",
    }
    with running_nginx(program("nginx"), server, tmp_path, changes) as cache:
        known = cache.get("/fib/500")[0]
        address = f"127.0.0.1:{cache.web.port}"
        cache.web.stop()

        def status() -> str:
            body, status, _ = cache.get("/fib/500")
            assert body == known
            return status

        wait_until(lambda: status() == "STALE", "its time is over")
        web = start_fibweb(
            tmp_path / "again.log", "--listen", address, "--servers", server.address
        )
        try:
            wait_until(lambda: status() == "HIT", "it is fetched anew")
        finally:
            web.stop()


def test_client_over_rate_limit_is_rejected(cache: WebCache) -> None:
    """A client above the rate limit is rejected; others get responses."""
    host, _, port = cache.address.partition(":")
    request = "GET /fib/1 HTTP/1.1\r\nHost: a\r\n"
    # Pipelined, since a slow machine may send too few one by one.
    requests = f"{request}\r\n" * 399 + f"{request}Connection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as client:
        client.sendall(requests.encode())
        text = client.makefile("rb").read()
    assert set(re.findall(rb"HTTP/1\.1 (\d+)", text)) == {b"200", b"429"}
    assert re.search(r"limiting requests", cache.log.read_text())


def test_operational_paths_are_denied(cache: WebCache) -> None:
    """The page is public; probes are for this host, and metrics for nobody."""
    stranger = "127.0.0.2"
    assert cache.ask("/", source=stranger).body.startswith(b"<!doctype html>")
    assert b"servers" in cache.ask("/status", source=stranger).body
    for path, code in (
        ("/healthz", 200),
        ("/readyz", 200),
        ("//readyz", 404),
        ("/%72eadyz", 200),
    ):
        assert cache.ask(path).code == code
        assert cache.ask(path, source=stranger).code == 403
    for path in ("/metrics", "//metrics", "/%6detrics"):
        assert cache.ask(path).code == 404


# Overload.


def test_nginx_passes_on_503(program: Program, tmp_path: Path) -> None:
    """In a storm each 503 is passed on without a retry, and no fibweb is marked down."""
    targets = [f"/number/{n}" for n in range(400)]

    def ask(number: int) -> tuple[int, str | None]:
        # One client may ask 20 times at once, and 200 times in a moment.
        reply = nginx.ask(targets[number], source=f"127.0.0.{2 + number % 5}")
        return reply.code, reply.headers["Retry-After"]

    with ExitStack() as stack:
        webs = [stack.enter_context(FakeFibweb(Behaviour.OVERLOADED)) for _ in "ab"]
        found = [web.address for web in webs]
        nginx = stack.enter_context(nginx_before(program("nginx"), found, tmp_path, {}))
        with ThreadPoolExecutor(40) as threads:
            replies = set(threads.map(ask, range(len(targets))))
        assert replies == {(503, "7")}
        assert webs[0].requests + webs[1].requests == Counter(targets)
        assert webs[0].requests
        assert webs[1].requests
        # Both are tried again at once, and a 503 is not cached.
        for web in webs:
            web.behaviour = Behaviour.ANSWER
            web.requests.clear()
        assert {nginx.ask(target).code for target in targets[:100]} == {200}
        assert webs[0].requests
        assert webs[1].requests


def test_waiting_requests_are_sent_after_a_short_wait(program: Program, tmp_path: Path) -> None:
    """Requests that wait for another's response are sent after a short wait, and get 503."""
    with FakeFibweb(Behaviour.OVERLOADED) as web, ExitStack() as stack:
        nginx = stack.enter_context(nginx_before(program("nginx"), [web.address], tmp_path, {}))
        threads = stack.enter_context(ThreadPoolExecutor(20))
        web.gate.clear()
        try:
            replies = [threads.submit(nginx.ask, "/number/1") for _ in range(20)]
            wait_until(lambda: web.requests["/number/1"] == 20, "all requests")
        finally:
            web.gate.set()
        found = [each.result() for each in replies]
        assert {(each.code, each.headers["Retry-After"]) for each in found} == {(503, "7")}
        assert web.requests == {"/number/1": 20}


def test_stale_response_during_overload(program: Program, tmp_path: Path) -> None:
    """An expired response is sent while fibweb is overloaded."""
    changes = {"proxy_cache_valid 200 206 1y;": "proxy_cache_valid 200 206 1s;"}
    with FakeFibweb(Behaviour.ANSWER) as web, ExitStack() as stack:
        cache = stack.enter_context(
            nginx_before(program("nginx"), [web.address], tmp_path, changes)
        )
        assert cache.get("/fib/3")[:2] == (b"body\n", "MISS")
        web.behaviour = Behaviour.OVERLOADED
        wait_until(lambda: cache.get("/fib/3") == (b"body\n", "STALE", 200), "a stale response")


def test_nginx_retries_dropped_connection(program: Program, tmp_path: Path) -> None:
    """A request whose fibweb closes the connection is sent to the next one."""
    with (
        FakeFibweb(Behaviour.DROP) as bad,
        FakeFibweb(Behaviour.ANSWER) as good,
        nginx_before(program("nginx"), [bad.address, good.address], tmp_path, {}) as cache,
    ):
        assert {cache.ask(f"/fib/{n}").code for n in range(30)} == {200}
        assert bad.requests
