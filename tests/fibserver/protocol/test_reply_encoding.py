"""Tests of reply encoding in RESP2 and RESP3."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibserver.protocol.reply_encoding import (
    RESP2,
    RESP3,
    CommandError,
    Simple,
    Value,
    array_header,
    encode,
    encode_error,
)

BOTH = [
    (0, b":0\r\n"),
    (-1, b":-1\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n"),
    (Simple("OK"), b"+OK\r\n"),
    ("OK", b"$2\r\nOK\r\n"),
    ("", b"$0\r\n\r\n"),
    ("φ", b"$2\r\n\xcf\x86\r\n"),
    (b"\0\r\n\xff", b"$4\r\n\0\r\n\xff\r\n"),
    ([], b"*0\r\n"),
    ((), b"*0\r\n"),
    ([1, "a", b"b", Simple("c")], b"*4\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n+c\r\n"),
    ([[1], [[]]], b"*2\r\n*1\r\n:1\r\n*1\r\n*0\r\n"),
]


@pytest.mark.parametrize("protocol", [RESP2, RESP3])
@pytest.mark.parametrize(("value", "expected"), BOTH)
def test_types_equal_in_both_protocols(protocol: int, value: Value, expected: bytes) -> None:
    """Integers, strings and arrays are the same in both protocols."""
    assert encode(value, protocol) == expected


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        ([None], b"*1\r\n$-1\r\n", b"*1\r\n_\r\n"),
        ({}, b"*0\r\n", b"%0\r\n"),
        (
            {"a": 1, "b": None},
            b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n",
            b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n",
        ),
        (
            [{"a": {"b": []}}],
            b"*1\r\n*2\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n*0\r\n",
            b"*1\r\n%1\r\n$1\r\na\r\n%1\r\n$1\r\nb\r\n*0\r\n",
        ),
    ],
)
def test_types_with_resp3_encoding(value: Value, resp2: bytes, resp3: bytes) -> None:
    """Null and maps have types of their own in RESP3; in RESP2 a map is a flat array."""
    assert encode(value) == encode(value, RESP2) == resp2
    assert encode(value, RESP3) == resp3


def test_array_header() -> None:
    """The header of an array holds the number of its values."""
    assert array_header(0) == b"*0\r\n"
    assert array_header(10**7) == b"*10000000\r\n"


def test_error_reply_is_one_line() -> None:
    """An error reply is its code and its message on one line."""
    assert encode_error("no such thing") == b"-ERR no such thing\r\n"
    assert encode_error("too large", "LIMIT") == b"-LIMIT too large\r\n"
    assert encode_error("a\r\n+OK\r\nb\n") == b"-ERR a  +OK  b \r\n"


@settings(deadline=None)
@given(st.text("a \r\n\t\0φ\u2028"))
def test_error_cannot_be_split(message: str) -> None:
    """An error reply is one line, even if the message contains line breaks."""
    reply = encode_error(message)
    assert reply.startswith(b"-ERR ")
    assert reply.endswith(b"\r\n")
    assert not set(reply[:-2]) & set(b"\r\n")


def test_command_error_has_a_code() -> None:
    """A `CommandError` has a code, which is ERR by default."""
    assert CommandError("no").code == "ERR"
    assert CommandError("later", "BUSY").code == "BUSY"
    assert str(CommandError("later", "BUSY")) == "later"
