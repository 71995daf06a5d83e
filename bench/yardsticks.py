"""What fibweb is compared with: other ways to serve the same numbers over HTTP, each at its best.

`stock` is waitress as it comes, with Falcon. `flask_app` is for gunicorn: a list in memory, and
jsonify, as most would write it first. `asgi_app` is for uvicorn: Falcon again, and ready bytes.
All have the numbers from the start; none asks anybody.
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

__all__ = ["asgi_app", "flask_app", "main", "stock_app"]

COUNT = 10_000


def _digits() -> Iterator[str]:
    with localcontext(EXACT):
        current, following = Decimal(0), Decimal(1)
        for _ in range(COUNT):
            yield str(current)
            current, following = following, current + following


class _Ready:
    """Answers that are slices of one text."""

    def __init__(self) -> None:
        elements = [f'"{digits}"'.encode() for digits in _digits()]
        self._text = b",".join(elements)
        self._ends = [0, *accumulate(len(each) + 1 for each in elements)]

    def answer(self, n: int) -> bytes:
        """Return the first n numbers as fibweb answers them."""
        return b'{"N": %d, "result": [%b]}' % (n, self._text[: max(0, self._ends[n] - 1)])


class _Resource(_Ready):
    def on_get(self, request: falcon.Request, response: falcon.Response, n: int) -> None:
        """Answer at once."""
        response.data = self.answer(n)
        response.content_type = falcon.MEDIA_JSON


class _AsyncResource(_Ready):
    async def on_get(self, request: Any, response: Any, n: int) -> None:
        """Answer at once."""
        response.data = self.answer(n)
        response.content_type = falcon.MEDIA_JSON


def stock_app() -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application for waitress."""
    app = falcon.App()
    app.add_route("/fib/{n:int}", _Resource())
    return app


def asgi_app() -> Any:
    """Return the application for uvicorn."""
    app: Any = falcon.asgi.App()
    app.add_route("/fib/{n:int}", _AsyncResource())
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
    """Serve the stock application at the port that is given."""
    waitress.serve(stock_app(), host="127.0.0.1", port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
