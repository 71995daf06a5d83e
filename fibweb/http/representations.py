"""The answers there are: of each its bytes' description, media type, entity tag and file name."""

from functools import lru_cache
from typing import NamedTuple

from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from fibcommon.formats import FORMATS

__all__ = [
    "AVAILABLE",
    "CACHE_CONTROL",
    "MEDIA_TYPES",
    "NEGOTIABLE",
    "Representation",
    "first",
    "number",
    "part",
]

CACHE_CONTROL = "public, max-age=31536000, immutable"
"""A year, the longest that caches heed: the sequence never changes."""

ENCODING_VERSION = 1
"""Part of every entity tag: whoever changes a byte of any answer counts it up."""

_PARAMETERS = {"text/plain": "; charset=utf-8", "text/csv": "; charset=utf-8; header=absent"}
_SUFFIXES = {
    "json": "json",
    "text": "txt",
    "csv": "csv",
    "ndjson": "ndjson",
    "bfile": "b.txt",
    "binary": "bin",
}

MEDIA_TYPES = {
    name: FORMATS[name].media_type + _PARAMETERS.get(FORMATS[name].media_type, "")
    for name in _SUFFIXES
}
"""By what `?format=` may say; `array` is for Redis clients."""

NEGOTIABLE = {kind: name for name, kind in MEDIA_TYPES.items() if name != "bfile"}
"""The format that each media type stands for, the best first; `text` is text/plain as well."""


AVAILABLE = [{"format": name, "media_type": kind} for name, kind in MEDIA_TYPES.items()]
"""What an error says there is."""


class Representation(NamedTuple):
    """One answer.

    Attributes:
        document: its bytes.
        tag: its entity tag, quotes included.
        not_modified_headers: the headers of an answer to a client that has the bytes already.
        headers: those of one with bytes, for looking at.
        download_headers: likewise, for saving to a file.
    """

    document: Document
    tag: str
    not_modified_headers: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    download_headers: list[tuple[str, str]]


@lru_cache(maxsize=1024)
def first(n: int, format: str) -> Representation:
    """Return the answer with the first n numbers."""
    answer = EncodedSlice.of(0, n, format)
    document = Document(b"", answer, b"")
    if format == "json":
        document = Document(b'{"N": %d, "result": [' % n, answer, b"]}")
    return _representation(document, f"first-{n}", f"fibonacci-0-{n}")


@lru_cache(maxsize=1024)
def part(start: int, count: int, format: str) -> Representation:
    """Return the answer with `count` numbers from F(start) on."""
    answer = EncodedSlice.of(start, start + count, format)
    document = Document(b"", answer, b"")
    if format == "json":
        opening = b'{"start": %d, "N": %d, "result": [' % (start, count)
        document = Document(opening, answer, b"]}")
    return _representation(document, f"part-{start}-{count}", f"fibonacci-{start}-{start + count}")


@lru_cache(maxsize=1024)
def number(n: int, format: str) -> Representation:
    """Return the answer with F(n) alone."""
    answer = EncodedSlice.of(n, n + 1, format)
    document = Document(b"", answer, b"")
    if format == "json":
        document = Document(b'{"n": %d, "value": ' % n, answer, b"}")
    return _representation(document, f"number-{n}", f"fibonacci-{n}")


def _representation(document: Document, what: str, file_name: str) -> Representation:
    format = document.answer.format.name
    tag = f'"{what}-{format}-{ENCODING_VERSION}"'
    not_modified_headers = [("etag", tag), ("cache-control", CACHE_CONTROL), ("vary", "Accept")]
    headers = [
        *not_modified_headers,
        ("accept-ranges", "bytes"),
        ("content-type", MEDIA_TYPES[format]),
    ]
    saved_as = f'filename="{file_name}.{_SUFFIXES[format]}"'
    inline = ("content-disposition", f"inline; {saved_as}")
    attachment = ("content-disposition", f"attachment; {saved_as}")
    return Representation(
        document, tag, not_modified_headers, [*headers, inline], [*headers, attachment]
    )
