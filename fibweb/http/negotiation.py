"""Content negotiation by Accept and Accept-Encoding (RFC 9110, sections 12.5.1 and 12.5.3)."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from fibweb.http.content_codings import IDENTITY

__all__ = ["MAX_ACCEPT_CHARACTERS", "choose", "choose_coding"]

MAX_ACCEPT_CHARACTERS = 1024
"""Bound for callers: browsers send about 150. Parsing takes microseconds per media range."""

# Possessive quantifiers, which never backtrack: no header makes them slow.
_QUOTED = r'"(?:[^"\\]|\\.?)*+"?'
_BETWEEN = {mark: re.compile(rf'(?:[^{mark}"]|{_QUOTED})++', re.DOTALL) for mark in ",;"}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


MAX_CODINGS_CHARACTERS = 1024
"""Browsers send about 30. A longer Accept-Encoding is ignored."""


class _MediaRange(NamedTuple):
    """A media range of Accept, or an offered media type."""

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]]
    quality: float

    def specificity(self, offer: "_MediaRange") -> int:
        """Return how specifically this matches an offer: -1 for no match, 0 for `*/*`."""
        if not self.parameters <= offer.parameters:
            return -1
        if (self.type, self.subtype) == (offer.type, offer.subtype):
            return 2 + len(self.parameters)
        if self.subtype == "*" and self.type in ("*", offer.type):
            return int(self.type != "*")
        return -1


# A client sends the same header with every request.
@lru_cache(maxsize=128)
def choose(accept: str, offers: tuple[str, ...]) -> str | None:
    """Return the media type for the response.

    That is the offer with the highest quality; among equals the one matched most specifically,
    then the first. Invalid media ranges are ignored, and so is a header without a valid one.

    Args:
        accept: Value of the Accept header.
        offers: Media types, the preferred one first; not empty.

    Returns:
        One of the offers, or None if none is acceptable.
    """
    wanted = list(filter(None, map(_parse, _split(accept, ","))))
    if not wanted:
        return offers[0]
    best, best_rank = None, (0.0, 0)
    for offer in offers:
        rank = _rank(offer, wanted)
        if rank[0] and rank > best_rank:
            best, best_rank = offer, rank
    return best


@lru_cache(maxsize=128)
def choose_coding(accept_encoding: str, offers: tuple[str, ...]) -> str:
    """Return the content coding for the response.

    That is the one with the highest quality, and among equals the first offer. Invalid elements
    are ignored. If no coding is acceptable, the response has none, as without the header.

    Args:
        accept_encoding: Value of the Accept-Encoding header, or empty.
        offers: Names of codings, the preferred one first, without `identity`.

    Returns:
        One of the offers, or `identity`.
    """
    if len(accept_encoding) > MAX_CODINGS_CHARACTERS:
        return IDENTITY
    qualities: dict[str, float] = {}
    for element in accept_encoding.lower().split(","):
        name, _, parameter = element.partition(";")
        key, _, value = parameter.partition("=")
        if not parameter.strip():
            quality = "1"
        elif key.strip() == "q":
            quality = value.strip()
        else:
            continue
        if _QUALITY.fullmatch(quality):
            # x-gzip is the name of gzip in old clients.
            qualities[name.strip().removeprefix("x-")] = float(quality)
    others = qualities.get("*", 0.0)
    best, best_quality = IDENTITY, qualities.get(IDENTITY, others)
    for offer in reversed(offers):
        quality_of_offer = qualities.get(offer, others)
        if quality_of_offer and quality_of_offer >= best_quality:
            best, best_quality = offer, quality_of_offer
    return best


def _rank(offer: str, wanted: Iterable[_MediaRange]) -> tuple[float, int]:
    """Return the quality and the specificity of the media range that matches an offer best."""
    media_type = _parse(offer)
    assert media_type is not None
    closest = max(wanted, key=lambda media_range: media_range.specificity(media_type))
    specificity = closest.specificity(media_type)
    return (closest.quality, specificity) if specificity >= 0 else (0.0, specificity)


def _parse(element: str) -> _MediaRange | None:
    """Return the media range of an element of Accept, or None if it is invalid."""
    name, *parameters = list(map(str.strip, _split(element, ";"))) or [""]
    type, _, subtype = name.lower().partition("/")
    if not (_TOKEN.fullmatch(type) and _TOKEN.fullmatch(subtype)):
        return None
    if type == "*" != subtype:
        return None
    found, quality = set(), 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        key, value = key.strip().lower(), value.strip()
        if key == "q":
            if not _QUALITY.fullmatch(value):
                return None
            quality = float(value)
            break
        # All offers are ASCII, so any charset matches.
        if key and key != "charset":
            found.add((key, value.strip('"').lower()))
    return _MediaRange(type, subtype, frozenset(found), quality)


def _split(text: str, mark: str) -> list[str]:
    """Split a text at the marks that are outside of quoted strings."""
    return _BETWEEN[mark].findall(text)
