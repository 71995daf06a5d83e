"""Which of several media types a request prefers: the header Accept (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

__all__ = ["choose"]

# Each takes what it finds and never goes back over it, so no header can make it slow.
_QUOTED = r'"(?:[^"\\]|\\.?)*+"?'
_BETWEEN = {mark: re.compile(rf'(?:[^{mark}"]|{_QUOTED})++', re.DOTALL) for mark in ",;"}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class _MediaRange(NamedTuple):
    """One element of Accept, or a media type that is offered."""

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]]
    quality: float

    def specificity(self, offer: "_MediaRange") -> int:
        """Return how closely this describes an offer: -1 for not at all, 0 for `*/*`."""
        if not self.parameters <= offer.parameters:
            return -1
        if (self.type, self.subtype) == (offer.type, offer.subtype):
            return 2 + len(self.parameters)
        if self.subtype == "*" and self.type in ("*", offer.type):
            return int(self.type != "*")
        return -1


# A client says the same at every request.
@lru_cache(maxsize=128)
def choose(accept: str, offers: tuple[str, ...]) -> str | None:
    """Return the media type to answer with.

    The one of the highest q; among equals the one asked for most specifically, then the one
    offered first. Elements that make no sense are ignored, and so is a header of nothing else.

    Args:
        accept: the header.
        offers: media types, the best first; not empty.

    Returns:
        one of the offers, or None if none is acceptable.
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
    """Return the q of the range that describes an offer most closely, and how closely that is."""
    described = _parse(offer)
    assert described is not None
    closest = max(wanted, key=lambda each: each.specificity(described))
    specificity = closest.specificity(described)
    return (closest.quality, specificity) if specificity >= 0 else (0.0, specificity)


def _parse(element: str) -> _MediaRange | None:
    """Return what an element of Accept says; None if it makes no sense."""
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
        # All that is offered is ASCII, so any charset is right.
        if key and key != "charset":
            found.add((key, value.strip('"').lower()))
    return _MediaRange(type, subtype, frozenset(found), quality)


def _split(text: str, mark: str) -> list[str]:
    """Return what is between the marks outside of quoted strings."""
    return _BETWEEN[mark].findall(text)
