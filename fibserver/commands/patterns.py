"""Glob patterns, matched without backtracking into earlier stars.

`fnmatch` compiles each pattern to a regular expression, which can take longer than a client's
slice of loop time.
"""

from typing import NamedTuple

__all__ = ["Glob"]


class _Class(NamedTuple):
    """A set of characters.

    Attributes:
        ranges: first and last characters.
        is_negated: whether the others are meant.
    """

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def has(self, character: str) -> bool:
        return self.is_negated != any(low <= character <= high for low, high in self.ranges)


_ANY = _Class((), is_negated=True)


class Glob:
    r"""A pattern as in Redis: `*`, `?`, `[abc]`, `[a-c]`, `[^a]`, and `\` before a literal."""

    def __init__(self, pattern: str) -> None:
        """Parse a pattern; any text is one."""
        self._parts: list[_Class | None] = []  # None is a star
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
                self._parts.append(_Class(((literal, literal),)))

    def matches(self, text: str) -> bool:
        """Return whether the pattern fits all of a text, in at most length times length steps.

        It suffices to try again from the last star: whatever an earlier one could take instead,
        the last can take as well.
        """
        parts = self._parts
        position = index = 0
        after_star, star_index = -1, 0
        while index < len(text):
            part = parts[position] if position < len(parts) else _Class(())
            if part is None:
                position += 1
                after_star, star_index = position, index
            elif part.has(text[index]):
                position += 1
                index += 1
            elif after_star >= 0:
                star_index += 1
                position, index = after_star, star_index
            else:
                return False
        return all(part is None for part in parts[position:])


def _parse_class(rest: list[str]) -> _Class:
    """Take a class off the reversed rest of a pattern, up to its `]` or the end."""
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
    return _Class(tuple(ranges), is_negated)
