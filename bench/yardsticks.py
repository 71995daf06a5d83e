"""Baselines for fibweb: other applications that serve the same numbers over HTTP.

`stock_app` is for stock waitress: Falcon and ready bytes. `flask_app` is for gunicorn: a list in
memory and jsonify, the usual first version. `asgi_app` is for uvicorn: Falcon and ready bytes. All
compute their numbers at the start and need no other server. `rsgi_app` is for granian: ready bytes
without any framework.
"""

import sys
from collections.abc import Iterator
from decimal import Decimal, localcontext
from itertools import accumulate
from typing import Any

import falcon
import falcon.asgi
import flask
import waitress
from cold_fill import EXACT

__all__ = ["asgi_app", "flask_app", "main", "rsgi_app", "stock_app"]

COUNT = 10_000


def _digits() -> Iterator[str]:
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for _ in range(COUNT):
            yield str(current)
            current, following = following, current + following


class _PreparedBodies:
    """Response bodies that are slices of one byte string."""

    def __init__(self) -> None:
        elements = [f'"{digits}"'.encode() for digits in _digits()]
        self._text = b",".join(elements)
        self._ends = [0, *accumulate(len(element) + 1 for element in elements)]

    def body(self, n: int) -> bytes:
        """Return the body of fibweb's response with the first n numbers."""
        return b'{"N": %d, "result": [%b]}' % (n, self._text[: max(0, self._ends[n] - 1)])


class _WsgiResource(_PreparedBodies):
    def on_get(self, request: falcon.Request, response: falcon.Response, n: int) -> None:
        """Respond with the first n numbers."""
        response.data = self.body(n)
        response.content_type = falcon.MEDIA_JSON


class _AsgiResource(_PreparedBodies):
    async def on_get(self, request: Any, response: Any, n: int) -> None:
        """Respond with the first n numbers."""
        response.data = self.body(n)
        response.content_type = falcon.MEDIA_JSON


def stock_app() -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application for waitress."""
    app = falcon.App()
    app.add_route("/fib/{n:int}", _WsgiResource())
    return app


def asgi_app() -> Any:
    """Return the application for uvicorn."""
    app: Any = falcon.asgi.App()
    app.add_route("/fib/{n:int}", _AsgiResource())
    return app


def rsgi_app() -> Any:
    """Return the application for granian."""
    bodies = _PreparedBodies()
    headers = [("content-type", falcon.MEDIA_JSON)]

    async def app(scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, headers, bodies.body(int(scope.path.removeprefix("/fib/"))))

    return app


def flask_app() -> flask.Flask:
    """Return the application for gunicorn."""
    app = flask.Flask("sketch")
    numbers = list(_digits())

    @app.get("/fib/<int:n>")
    def first(n: int) -> flask.Response:
        return flask.jsonify({"N": n, "result": numbers[:n]})

    return app


def main() -> None:
    """Serve the stock application at the port on the command line."""
    waitress.serve(stock_app(), host="127.0.0.1", port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
