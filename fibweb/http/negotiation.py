"""Content negotiation by the Accept header (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

__all__ = ["choose"]

# Possessive quantifiers, which never backtrack: no header makes them slow.
_QUOTED = r'"(?:[^"\\]|\\.?)*+"?'
_BETWEEN = {mark: re.compile(rf'(?:[^{mark}"]|{_QUOTED})++', re.DOTALL) for mark in ",;"}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


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
