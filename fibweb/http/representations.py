"""Representations of the numbers: document, headers, entity tag and file name of each response."""

from functools import lru_cache
from typing import NamedTuple

from fibclient import Document, EncodedSlice
from fibcommon.formats import FORMATS
from fibweb.http.parameters import SHOWN_CHARACTERS, parse_index

__all__ = [
    "AVAILABLE",
    "CACHE_CONTROL",
    "MEDIA_TYPES",
    "NEGOTIABLE",
    "Representation",
    "check_format",
    "first",
    "number",
    "part",
]

CACHE_CONTROL = "public, max-age=31536000, immutable"
"""One year, the longest age in use: responses never change."""

ENCODING_VERSION = 1
"""Part of every entity tag. Increment it with any change of the encoding."""

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
"""Media types by the value of `?format=`; the format `array` is for Redis clients only."""

NEGOTIABLE = {kind: name for name, kind in MEDIA_TYPES.items() if name != "bfile"}
"""Formats by media type, the preferred one first; text/plain is `text`, not `bfile`."""


AVAILABLE = [{"format": name, "media_type": kind} for name, kind in MEDIA_TYPES.items()]
"""Available formats, for error responses."""


def check_format(name: str) -> None:
    """Raise ValueError if there is no format of a name, the value of `?format=`."""
    if name not in MEDIA_TYPES:
        raise ValueError(
            f"format must be one of {', '.join(MEDIA_TYPES)}, not {name[:SHOWN_CHARACTERS]!r}"
        )


class Representation(NamedTuple):
    """Body and headers of one response.

    Attributes:
        document: The body.
        tag: The entity tag, quotes included.
        not_modified_headers: Headers of a 304 response.
        headers: Headers of a response to display.
        download_headers: Headers of a response to save to a file.
    """

    document: Document
    tag: str
    not_modified_headers: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    download_headers: list[tuple[str, str]]


# Cached by the texts of the parameters, which are checked only once.
@lru_cache(maxsize=1024)
def first(n_text: str, format: str) -> Representation:
    """Return the representation of F(0) to F(n-1).

    Raises:
        ValueError: The text is not a valid n.
    """
    n = parse_index("n", n_text)
    slice_ = EncodedSlice.of(0, n, format)
    document = Document(b"", slice_, b"")
    if format == "json":
        document = Document(b'{"N": %d, "result": [' % n, slice_, b"]}")
    return _representation(document, f"first-{n}", f"fibonacci-0-{n}")


@lru_cache(maxsize=1024)
def part(start_text: str, count_text: str, format: str) -> Representation:
    """Return the representation of F(start) to F(start+count-1).

    Raises:
        ValueError: A text is not a valid index or count.
    """
    start, count = parse_index("start", start_text), parse_index("count", count_text)
    slice_ = EncodedSlice.of(start, start + count, format)
    document = Document(b"", slice_, b"")
    if format == "json":
        opening = b'{"start": %d, "N": %d, "result": [' % (start, count)
        document = Document(opening, slice_, b"]}")
    return _representation(document, f"part-{start}-{count}", f"fibonacci-{start}-{start + count}")


@lru_cache(maxsize=1024)
def number(n_text: str, format: str) -> Representation:
    """Return the representation of F(n).

    Raises:
        ValueError: The text is not a valid n.
    """
    n = parse_index("n", n_text)
    slice_ = EncodedSlice.of(n, n + 1, format)
    document = Document(b"", slice_, b"")
    if format == "json":
        document = Document(b'{"n": %d, "value": ' % n, slice_, b"}")
    return _representation(document, f"number-{n}", f"fibonacci-{n}")


def _representation(document: Document, what: str, file_name: str) -> Representation:
    format = document.slice.format.name
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
