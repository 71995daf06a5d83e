"""Resources that return numbers: `/fib/{n}`, `/fib` and `/number/{n}`.

They choose the format, the byte range and the headers; `DocumentFile` provides the bytes. They run
on the event loop. If bytes must be fetched first, the HTTP server fetches them and then runs the
resource again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

import falcon

from fibclient import Document, FibClient, RequestRefused
from fibweb.content.document_file import DocumentFile, needs_several_requests
from fibweb.content.fetch_request import FETCH, FetchRequest, run_now
from fibweb.http import byte_ranges, entity_tags, representations
from fibweb.http.links import range_links
from fibweb.http.negotiation import MAX_ACCEPT_CHARACTERS, choose
from fibweb.http.parameters import (
    SHOWN_CHARACTERS,
    MissingParameter,
    check_spelling,
    parse_query,
)
from fibweb.http.representations import AVAILABLE, NEGOTIABLE, Representation, check_format
from fibweb.resources.computed import ComputedResource
from fibweb.resources.number_part import NumberPartResource
from fibweb.resources.problems import (
    Problem,
    invalid_request,
    not_matching,
)
from fibweb.resources.range_digits import FirstDigitsResource, RangeDigitsResource
from fibweb.resources.remainder import RemainderResource
from fibweb.resources.server_limits import ServerLimits

__all__ = ["FirstNumbersResource", "NumberResource", "RangeResource"]

SMALL_BYTES = 64 * 1024
"""Up to this size, copying a response costs less than streaming it from a file."""

_OFFERS = tuple(NEGOTIABLE)

_NO_PARAMETERS: Mapping[str, str] = {}

_CONDITIONS = ("HTTP_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
"""Keys of the headers on which it depends whether all bytes are sent."""


class _Numbers(ABC):
    """Base of the resources of the first numbers, of a range and of one number."""

    parameters = frozenset({"format", "download"})
    """Query parameters that the resource reads; it ignores others."""

    example: str
    """Path and query of a valid request, for error messages."""

    def __init__(self, client: FibClient, limits: ServerLimits) -> None:
        """Create the resource.

        Args:
            client: Client for the fibservers; the caller closes it.
            limits: Limits of the fibservers.
        """
        self._client = client
        self._limits = limits
        self._instead = self.documents_instead(client)

    def documents_instead(self, client: FibClient) -> Mapping[str, ComputedResource]:
        """Return resources whose documents stand in place of the numbers.

        Args:
            client: Client for the fibservers.

        Returns:
            The resources by the query parameter that selects them; of several the first counts.
        """
        return {}

    @abstractmethod
    def representation(self, n: str, query: Mapping[str, str], format: str) -> Representation:
        """Return the requested representation.

        Args:
            n: Value from the path; empty if the route has none.
            query: Known query parameters.
            format: Name of the format.

        Raises:
            ValueError: A parameter is missing or invalid.
        """

    def links(self, query: Mapping[str, str]) -> str:
        """Return the Link header of a valid request; empty for none."""
        return ""

    def on_get(self, request: falcon.Request, response: falcon.Response, n: str = "") -> None:
        """Respond to GET, and to HEAD, for which Falcon omits the body."""
        if request.query_string:
            names = {pair.partition("=")[0] for pair in request.query_string.split("&")}
            for name, resource in self._instead.items():
                if name in names:
                    resource.on_get(request, response, n=n)
                    return
        environ = request.env
        text = request.query_string
        try:
            query = parse_query(text, self.parameters) if text else _NO_PARAMETERS
            format = _format(query.get("format"), environ.get("HTTP_ACCEPT"))
            chosen = self.representation(n, query, format)
            if n:
                check_spelling("n", environ)
        except ValueError as error:
            raise invalid_request(error, environ, self.example) from error

        document, part, matches, has_tag, none_match = chosen.document, None, True, False, ""
        if not environ.keys().isdisjoint(_CONDITIONS):
            part = _part(environ, chosen)
            none_match = environ.get("HTTP_IF_NONE_MATCH", "")
            matches = entity_tags.is_match(environ.get("HTTP_IF_MATCH"), chosen.tag)
            # Equal tags mean equal bytes: a client that lists the tag needs no fetch.
            has_tag = matches and entity_tags.contains_tag(none_match, chosen.tag, weakly=True)
        data, file = None, None
        if part is None and document.size <= SMALL_BYTES and not has_tag:
            data = document.cached_whole(self._client)
        if data is None and not has_tag:
            is_head = environ["REQUEST_METHOD"] == "HEAD"
            file = self._open(document, part, is_head, environ.get(FETCH, run_now))
        if not matches:
            raise not_matching(chosen.tag)
        if none_match and entity_tags.is_not_modified(none_match, chosen.tag):
            response.status = falcon.HTTP_304
            response.set_headers(chosen.not_modified_headers)
            return
        if part:
            _describe_part(response, part, document.size)
        response.set_headers(chosen.download_headers if "download" in query else chosen.headers)
        if links := self.links(query):
            response.set_header("Link", links)
        if file is None:
            response.data = data
            return
        # Looked up once, because another thread may evict the bytes at any time.
        views = file.views() if file.size <= SMALL_BYTES else ()
        if sum(map(len, views)) == file.size:
            response.data = b"".join(views)
        else:
            response.set_stream(cast(Any, file), file.size)

    def _open(
        self,
        document: Document,
        part: byte_ranges.ByteRange | None,
        is_head: bool,
        fetch: Callable[[FetchRequest], Any],
    ) -> DocumentFile:
        """Return a file with the requested bytes, the first of them in memory if they are sent."""
        file = DocumentFile(self._client, document, *(part or (0, document.size)))
        # A fibserver checks its limits for each fetch, never for the document as a whole.
        is_fetched_whole = part is None and not needs_several_requests(document.slice)
        # The size of a response to HEAD is known, and its bytes may take seconds.
        is_size_enough = is_head and document.size > SMALL_BYTES
        if (is_size_enough or not is_fetched_whole) and not document.is_cached(self._client):
            self._limits.check(document.slice, fetch)
            if is_head:
                return file
        if file.size and not file.views():
            try:
                file.hold(fetch(file.next_fetch()))
            except RequestRefused as error:
                if error.code == "LIMIT":
                    self._limits.check(document.slice, fetch)  # its error has the limits
                raise
        return file


class FirstNumbersResource(_Numbers):
    """`/fib/{n}`: F(0) to F(n-1); only the ends of each with the parameter `digits`."""

    parameters = _Numbers.parameters | {"digits"}

    def documents_instead(self, client: FibClient) -> Mapping[str, ComputedResource]:
        """Return the resource for the ends of the numbers."""
        return {"digits": FirstDigitsResource(client)}

    example = "/fib/10"

    def representation(self, n: str, query: Mapping[str, str], format: str) -> Representation:
        """Return the representation of the first n numbers."""
        return representations.first(n, format)


class RangeResource(_Numbers):
    """`/fib?start=s&count=c`: F(s) to F(s+c-1); the ends of each with the parameter `digits`."""

    parameters = _Numbers.parameters | {"start", "count", "digits"}
    example = "/fib?start=0&count=10"

    def documents_instead(self, client: FibClient) -> Mapping[str, ComputedResource]:
        """Return the resource for the ends of the numbers."""
        return {"digits": RangeDigitsResource(client)}

    def representation(self, n: str, query: Mapping[str, str], format: str) -> Representation:
        """Return the representation of `count` numbers from F(start)."""
        if "count" not in query:
            raise MissingParameter("count", "how many numbers to return", "n", "/fib")
        return representations.part(query.get("start", "0"), query["count"], format)

    def links(self, query: Mapping[str, str]) -> str:
        """Return links to the ranges before and after this one."""
        start, count = int(query.get("start", "0")), int(query["count"])
        kept = f"format={query['format']}" if "format" in query else ""
        return range_links(start, count, self._limits.max_index, kept)


class NumberResource(_Numbers):
    """`/number/{n}`: F(n); its remainder with the parameter `mod`, digits with `from`, `count`."""

    parameters = _Numbers.parameters | {"mod", "from", "count"}
    example = "/number/100"

    def documents_instead(self, client: FibClient) -> Mapping[str, ComputedResource]:
        """Return the resources for a remainder and for some digits."""
        part = NumberPartResource(client)
        return {"mod": RemainderResource(client), "from": part, "count": part}

    def representation(self, n: str, query: Mapping[str, str], format: str) -> Representation:
        """Return the representation of F(n)."""
        return representations.number(n, format)


def _format(wanted: str | None, accept: str | None) -> str:
    """Return the name of the response format.

    Args:
        wanted: The parameter `format`, or None.
        accept: The Accept header, or None.
    """
    if wanted is not None:
        try:
            check_format(wanted)
        except ValueError as error:
            raise Problem(400, str(error), available=AVAILABLE) from error
        return wanted
    if accept and len(accept) > MAX_ACCEPT_CHARACTERS:
        raise Problem(
            431,
            f"Accept has {len(accept)} characters, the maximum is {MAX_ACCEPT_CHARACTERS}: "
            "shorten it, or use ?format=",
        )
    media_type = choose(accept, _OFFERS) if accept else _OFFERS[0]
    if media_type is None:
        types = ", ".join(offer.partition(";")[0] for offer in _OFFERS)
        shown = repr(accept[:SHOWN_CHARACTERS]) if accept else ""
        raise Problem(
            406,
            f"Accept is {shown}, but the formats are {types}: list one, or add e.g. ?format=csv",
            available=AVAILABLE,
        )
    return NEGOTIABLE[media_type]


def _part(environ: dict[str, Any], chosen: Representation) -> byte_ranges.ByteRange | None:
    """Return the requested byte range; None for all, and for HEAD (RFC 9110, 14.2)."""
    text = environ.get("HTTP_RANGE")
    if not text or environ["REQUEST_METHOD"] != "GET":
        return None
    if not entity_tags.if_range_matches(environ.get("HTTP_IF_RANGE"), chosen.tag):
        return None
    return byte_ranges.parse(text, chosen.document.size)


def _describe_part(response: falcon.Response, part: byte_ranges.ByteRange, size: int) -> None:
    if part.begin == part.end:
        headers = {"Content-Range": f"bytes */{size}"}
        remedy = f"request bytes from 0 to {size - 1}" if size else "omit it"
        raise Problem(416, f"Range selects none of the {size} bytes: {remedy}", headers)
    response.status = falcon.HTTP_206
    response.set_header("Content-Range", f"bytes {part.begin}-{part.end - 1}/{size}")
