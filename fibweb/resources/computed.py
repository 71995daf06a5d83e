"""Base of the resources whose responses are small JSON documents, computed from their parameters.

A document is computed on the event loop if that is predicted to take `LOOP_SECONDS` at most.
Otherwise it is requested from a fibserver, in the same way as numbers. Both use the same functions
of `fibcommon`, so results and bounds are the same. A resource may offer only one of the two.

Each document exists only as JSON, so Accept is not read.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import falcon

from fibcommon.costs import LOOP_SECONDS
from fibweb.content.fetch_request import FETCH, FetchRequest, run_now
from fibweb.http import entity_tags
from fibweb.http.parameters import check_spelling, parse_query
from fibweb.http.representations import CACHE_CONTROL, ENCODING_VERSION
from fibweb.resources.problems import invalid_request, not_matching

__all__ = ["Computation", "ComputedResource"]


class Computation(NamedTuple):
    """One document, not computed yet.

    Attributes:
        key: Name and arguments: equal keys mean equal documents.
        seconds: Predicted time to compute it.
        compute: Computes its members in this process; None if a fibserver always does.
        request: Requests them from a fibserver; blocks, and raises FibError. None if they are
            always computed here.
    """

    key: tuple[str | int, ...]
    seconds: float
    compute: Callable[[], Mapping[str, object]] | None
    request: Callable[[], Mapping[str, object]] | None = None

    @property
    def tag(self) -> str:
        """The entity tag of the document, which needs no computation."""
        # Not the key itself, which may have thousands of characters.
        text = repr((*self.key, ENCODING_VERSION))
        return f'"{self.key[0]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"'

    def body(self, fetch: Callable[[FetchRequest], Any]) -> bytes:
        """Return the document.

        Args:
            fetch: Runs the request to a fibserver, if one is needed.
        """
        compute, request = self.compute, self.request
        if compute is not None and (request is None or self.seconds <= LOOP_SECONDS):
            return _encoded(compute())
        assert request is not None, "the members come from somewhere"
        wanted = FetchRequest(self.key, self.seconds, 0, lambda _: _encoded(request()))
        result: bytes = fetch(wanted)
        return result


class ComputedResource(ABC):
    """Base of the resources.

    Attributes:
        argument: Name of the number at the end of the path; empty if the route has none.
        parameters: Query parameters that the resource reads; it ignores others.
        example: Path and query of a valid request, for error messages.
    """

    argument = ""
    parameters: frozenset[str] = frozenset()
    example: str

    @abstractmethod
    def computation(self, argument: str, query: Mapping[str, str]) -> Computation:
        """Return the computation of the requested document.

        Args:
            argument: Value from the path; empty if the route has none.
            query: Known query parameters.

        Raises:
            ValueError: A parameter is missing, invalid or out of bounds.
        """

    def links(self, query: Mapping[str, str]) -> str:
        """Return the Link header of a valid request; empty for none."""
        return ""

    def on_get(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        """Respond to GET, and to HEAD, for which Falcon omits the body."""
        environ = request.env
        none_match = environ.get("HTTP_IF_NONE_MATCH", "")
        try:
            query = parse_query(request.query_string, self.parameters)
            computation = self.computation(path.get(self.argument, ""), query)
            if self.argument:
                check_spelling(self.argument, environ)
        except ValueError as error:
            raise invalid_request(error, environ, self.example) from error

        tag, body = computation.tag, b""
        # Equal tags mean equal bytes: a client that lists the tag needs no computation.
        if not entity_tags.contains_tag(none_match, tag, weakly=True):
            body = computation.body(environ.get(FETCH, run_now))
        if not entity_tags.is_match(environ.get("HTTP_IF_MATCH"), tag):
            raise not_matching(tag)
        response.set_header("ETag", tag)
        response.set_header("Cache-Control", CACHE_CONTROL)
        if entity_tags.is_not_modified(none_match, tag):
            response.status = falcon.HTTP_304
            return
        if links := self.links(query):
            response.set_header("Link", links)
        response.content_type = falcon.MEDIA_JSON
        response.data = body


def _encoded(members: Mapping[str, object]) -> bytes:
    return json.dumps(members).encode()
