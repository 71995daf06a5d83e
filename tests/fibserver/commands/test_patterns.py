"""Tests of glob patterns: what they match, and in how many steps."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibserver.commands import patterns
from fibserver.commands.patterns import Glob


@given(st.text("ab*?", max_size=12), st.text("abc", max_size=12))
def test_as_fnmatch(pattern: str, text: str) -> None:
    """Stars and question marks match what `fnmatch` matches."""
    assert Glob(pattern).matches(text) == fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", ["", ""], ["a"]),
        ("*", ["", "abc"], []),
        ("m[ai]x", ["max", "mix"], ["mox", "mx", "ma"]),
        ("[a-c]*", ["a", "bz", "c"], ["d", ""]),
        ("[c-a]", ["b"], ["d"]),
        ("[^a-c]", ["d"], ["a", "b", ""]),
        ("[a", ["a"], ["b", "["]),
        ("[", [], ["[", "a"]),
        ("[^", ["a"], [""]),
        (r"[\]]", ["]"], ["\\", "["]),
        (r"\*", ["*"], ["a", r"\*"]),
        ("\\", ["\\"], [""]),
        ("[a-]", ["a", "]", "_"], ["-"]),
    ],
)
def test_classes_and_escapes(pattern: str, matching: list[str], others: list[str]) -> None:
    """Classes, negation and escapes work as in Redis; an unclosed class ends with the pattern."""
    glob = Glob(pattern)
    assert all(map(glob.matches, matching))
    assert not any(map(glob.matches, others))


@given(st.text())
def test_any_text_is_a_pattern(pattern: str) -> None:
    """Every text is a valid pattern."""
    Glob(pattern).matches("max_clients")


def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern with many stars takes at most pattern length times text length steps."""
    steps = 0
    contains = patterns._CharacterSet.contains

    def counted(self: patterns._CharacterSet, character: str) -> bool:
        nonlocal steps
        steps += 1
        return contains(self, character)

    monkeypatch.setattr(patterns._CharacterSet, "contains", counted)
    for pattern in ("*a" * 31 + "b", "*" + "[a-z]" * 12 + "!", "*a*" * 20 + "?!"):
        steps = 0
        assert not Glob(pattern).matches("a" * 40)
        assert 0 < steps <= len(pattern) * 40
