"""Glob pattern matching in bounded time.

`fnmatch` compiles each pattern to a regular expression, which can take longer than a client's
share of loop time.
"""

from typing import NamedTuple

__all__ = ["Glob"]


class _CharacterSet(NamedTuple):
    """A set of characters.

    Attributes:
        ranges: First and last character of each range.
        is_negated: Whether the set holds all other characters instead.
    """

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def contains(self, character: str) -> bool:
        return self.is_negated != any(low <= character <= high for low, high in self.ranges)


_ANY = _CharacterSet((), is_negated=True)


class Glob:
    r"""Redis glob pattern: `*`, `?`, `[abc]`, `[a-c]`, `[^a]`, and `\` before a literal."""

    def __init__(self, pattern: str) -> None:
        """Parse a pattern; every text is valid."""
        self._parts: list[_CharacterSet | None] = []  # None is a star
        rest = list(reversed(pattern))
        while rest:
            character = rest.pop()
            if character == "*":
                self._parts.append(None)
            elif character == "?":
                self._parts.append(_ANY)
            elif character == "[":
                self._parts.append(_parse_class(rest))
            else:
                literal = rest.pop() if character == "\\" and rest else character
                self._parts.append(_CharacterSet(((literal, literal),)))

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches the whole text.

        This takes at most pattern length times text length steps. It backtracks to the last star
        only: text that an earlier star could absorb can be absorbed by the last one.
        """
        parts = self._parts
        position = index = 0
        after_star, star_index = -1, 0
        while index < len(text):
            part = parts[position] if position < len(parts) else _CharacterSet(())
            if part is None:
                position += 1
                after_star, star_index = position, index
            elif part.contains(text[index]):
                position += 1
                index += 1
            elif after_star >= 0:
                star_index += 1
                position, index = after_star, star_index
            else:
                return False
        return all(part is None for part in parts[position:])


def _parse_class(rest: list[str]) -> _CharacterSet:
    """Pop a class, up to its `]` or the end, from the reversed rest of a pattern."""
    is_negated = bool(rest) and rest[-1] == "^"
    if is_negated:
        rest.pop()
    ranges = []
    while rest and (low := rest.pop()) != "]":
        if low == "\\" and rest:
            low = rest.pop()
        high = low
        if len(rest) >= 2 and rest[-1] == "-":
            rest.pop()
            high = rest.pop()
        ranges.append((min(low, high), max(low, high)))
    return _CharacterSet(tuple(ranges), is_negated)
