"""Tests of the kinds of values that settings have."""

from pathlib import Path

import pytest

from fibcommon.configuration import values
from fibcommon.configuration.values import Kind

SIZE = values.size("1 byte")
SECONDS = values.seconds()
WHOLE = values.whole(1, 1000)


@pytest.mark.parametrize(
    ("kind", "value", "parsed"),
    [
        (SIZE, 5, 5),
        (SIZE, "5", 5),
        (SIZE, "5B", 5),
        (SIZE, "1 byte", 1),
        (SIZE, "2k", 2000),
        (SIZE, " 1.5 GB ", 1_500_000_000),
        (SIZE, "64Mi", 2**26),
        (SIZE, "64mib", 2**26),
        (SIZE, ".5KiB", 512),
        (SIZE, "1TiB", 2**40),
        (SECONDS, 1, 1.0),
        (SECONDS, "0.25", 0.25),
        (WHOLE, "1_000", 1000),
        (values.BOOLEAN, "Yes", True),
        (values.BOOLEAN, 0, False),
        (values.PATH, Path("a"), Path("a")),
        (values.optional(values.PATH), None, None),
        (values.comma_separated(str, "anything", minimum=0), "a, b", ("a", "b")),
    ],
)
def test_accepted_values(kind: Kind, value: object, parsed: object) -> None:
    """Values of the right types, or their texts, are parsed."""
    found = kind.parse(value)
    assert (found, type(found)) == (parsed, type(parsed))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SIZE, ""),
        (SIZE, "5iB"),
        (SIZE, "5 apples"),
        (SIZE, "-1"),
        (SIZE, 1.5),
        (SIZE, "9" * 5000),
        (SECONDS, "nan"),
        (SECONDS, "1e-400"),
        (WHOLE, 2.0),
        (WHOLE, "auto"),
        (WHOLE, None),
        (values.BOOLEAN, 1.0),
        (values.BOOLEAN, ["true"]),
        (values.PATH, b"a"),
        (values.comma_separated(str, "anything"), []),
        (values.comma_separated(str, "anything"), {"a": 1}),
    ],
)
def test_invalid_values(kind: Kind, value: object) -> None:
    """Values of other types or out of bounds are rejected."""
    with pytest.raises(ValueError):  # noqa: PT011 the caller makes the message
        kind.parse(value)
