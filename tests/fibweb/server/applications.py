"""WSGI application with one path for each kind of response."""

import io
from collections.abc import Iterable
from typing import Any

from fibweb.content.fetch_request import FetchRequest

__all__ = ["FETCH", "IMMUTABLE", "strange"]

FETCH = FetchRequest("waited", 0.001, 6, lambda _: b"waited")

IMMUTABLE = ("Cache-Control", "public, max-age=31536000, immutable")


def strange(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Respond to each path in a different way."""
    name = environ["PATH_INFO"].strip("/") or "plain"
    return _ANSWERS[name](environ, start_response)  # KeyError for an unknown path


def _plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = b"plain " + environ["QUERY_STRING"].encode()
    start_response("200 OK", [IMMUTABLE, ("content-length", str(len(body))), ("X-b", "1")])
    return [body] if environ["REQUEST_METHOD"] != "HEAD" else []


def _partial(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [IMMUTABLE, ("Content-Range", "bytes 0-3/9"), ("Content-Length", "4")]
    start_response("206 Partial Content", headers)
    return [b"part"]


def _changing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "8"), ("Cache-Control", "no-store")])
    return [b"changing"]


def _waits(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    fetch = environ.get("fibweb.fetch", lambda fetch: fetch.run(None))
    body: bytes = fetch(FETCH)
    start_response("200 OK", [IMMUTABLE, ("Content-Length", "6")])
    return [body]


def _waits_late(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    yield b"begun "
    if "fibweb.fetch" in environ:
        environ["fibweb.fetch"](FETCH)
    yield b"late"


def _unchanged(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("304 Not Modified", [IMMUTABLE, ("ETag", '"1"')])
    return []


def _chunks(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"one "
    yield b"two"


def _echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body: bytes = environ["wsgi.input"].read()
    start_response("200 OK", [IMMUTABLE, ("Content-Length", str(len(body)))])
    return [body]


def _file(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "100000")])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 100_000))
    return wrapped


def _repeated(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Set-Cookie", "a=1"), ("Content-Length", "1"), ("set-cookie", "b=2")]
    start_response("200 OK", [*headers, ("Vary", "Accept")])
    return [b"r"]


def _behind_another(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Server", "another"), ("Content-Length", "1")])
    return [b"b"]


def _too_few(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "9")])
    return [b"few"]


_ANSWERS = {
    "plain": _plain,
    "partial": _partial,
    "changing": _changing,
    "waits": _waits,
    "waits-late": _waits_late,
    "unchanged": _unchanged,
    "chunks": _chunks,
    "echo": _echo,
    "file": _file,
    "repeated": _repeated,
    "behind-another": _behind_another,
    "too-few": _too_few,
}
