"""Compressed responses, by Accept-Encoding.

Each coding of a document is a representation with an entity tag of its own. None of them supports
ranges: a Range header is ignored, as RFC 9110 allows. Numbers are not compressed: see
docs/performance.md for the reasons, and deploy/nginx for a cache that does it.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import falcon

from fibweb.http.content_codings import CODINGS, IDENTITY, compress
from fibweb.http.entity_tags import is_match, is_not_modified, mismatch
from fibweb.http.negotiation import choose_coding

__all__ = ["StaticDocument", "set_compressed"]

MIN_BYTES = 256
MAX_BYTES = 64 * 1024
"""Sizes that are compressed for each response. Less saves nothing, more would take over 1 ms."""


class _Encoded(NamedTuple):
    data: bytes
    tag: str


class StaticDocument:
    """A document that does not change while the process runs, compressed once."""

    def __init__(self, data: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        """Compress the document.

        Args:
            data: The document.
            media_type: Its Content-Type.
            headers: Further headers, also of a response without the document (304).
        """
        self._media_type = media_type
        self._headers = {**headers, "Vary": "Accept-Encoding"}
        digest = hashlib.sha256(data).hexdigest()[:32]
        self._encoded = {IDENTITY: _Encoded(data, f'"{digest}"')}
        for coding in CODINGS:
            compressed = compress(data, coding, is_fast=False)
            if len(compressed) < len(data):
                self._encoded[coding] = _Encoded(compressed, f'"{digest}-{coding}"')
        self._offers = tuple(self._encoded)[1:]

    def respond(
        self, request: falcon.Request, response: falcon.Response, cache_control: str = "no-cache"
    ) -> None:
        """Respond with the document, or with 304 if the client has it in the same coding.

        Args:
            request: The request.
            response: The response.
            cache_control: Value of Cache-Control.

        Raises:
            falcon.HTTPPreconditionFailed: If-Match does not list the entity tag.
        """
        coding = choose_coding(request.env.get("HTTP_ACCEPT_ENCODING", ""), self._offers)
        data, tag = self._encoded[coding]
        if not is_match(request.env.get("HTTP_IF_MATCH"), tag):
            raise falcon.HTTPPreconditionFailed(description=mismatch(tag))
        response.set_headers(self._headers)
        response.set_header("Cache-Control", cache_control)
        response.set_header("ETag", tag)
        if is_not_modified(request.env.get("HTTP_IF_NONE_MATCH", ""), tag):
            response.status = falcon.HTTP_304
            return
        response.content_type = self._media_type
        if coding != IDENTITY:
            response.set_header("Content-Encoding", coding)
        response.data = data


def set_compressed(request: falcon.Request, response: falcon.Response, data: bytes) -> None:
    """Set the body of a response whose content is different each time.

    Args:
        request: The request.
        response: The response, which gets the body.
        data: The content; if it is very small or large, it is not compressed.
    """
    response.append_header("Vary", "Accept-Encoding")
    if MIN_BYTES <= len(data) <= MAX_BYTES:
        coding = choose_coding(request.env.get("HTTP_ACCEPT_ENCODING", ""), CODINGS)
        if coding != IDENTITY:
            data = compress(data, coding, is_fast=True)
            response.set_header("Content-Encoding", coding)
    response.data = data
