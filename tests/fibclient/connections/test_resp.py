"""Client side of the protocol, with bytes from memory."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.connections.resp import (
    MAX_DEPTH,
    Reply,
    encode_request,
    read_bulk_header,
    read_bulk_trailer,
    read_reply,
)
from fibclient.errors import RequestRefused, ServerMisbehaved


class NotEnough(Exception):
    """The end of the bytes was reached."""


class Bytes:
    """A source of replies from memory."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def read_line(self) -> bytes:
        line, found, rest = self.rest.partition(b"\r\n")
        if not found:
            raise NotEnough
        self.rest = rest
        return line

    def read_exactly(self, size: int) -> bytes:
        if len(self.rest) < size:
            raise NotEnough
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


REPLIES: list[tuple[bytes, Reply]] = [
    (b"+PONG\r\n", "PONG"),
    (b"+\r\n", ""),
    (b":0\r\n", 0),
    (b":-9223372036854775808\r\n", -(2**63)),
    (b"$0\r\n\r\n", b""),
    (b"$2\r\n\r\n\r\n", b"\r\n"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n$1\r\nx\r\n*1\r\n+OK\r\n", [1, b"x", ["OK"]]),
]


@pytest.mark.parametrize(("data", "reply"), REPLIES)
def test_reply_is_read_to_its_end(data: bytes, reply: Reply) -> None:
    """Each kind of reply is read exactly to its end; no proper part of it is complete."""
    source = Bytes(data + b":7\r\n")
    assert read_reply(source) == reply
    assert source.rest == b":7\r\n"
    for size in range(len(data)):
        with pytest.raises(NotEnough):
            read_reply(Bytes(data[:size]))


def test_error_reply_raises() -> None:
    """An error reply raises with its code, and is read to its end."""
    source = Bytes(b"-LIMIT too large\r\n:7\r\n")
    with pytest.raises(RequestRefused, match=r"^LIMIT too large$") as caught:
        read_reply(source)
    assert caught.value.code == "LIMIT"
    assert source.rest == b":7\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"$x\r\n",
        b"$\r\n",
        b"$+1\r\nx\r\n",
        b":1_0\r\n",
        b":" + "٣".encode() + b"\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"$1\r\nxy\r\n",
        b"$99999999999\r\n",
        b"*99999999999\r\n",
        b"*1\r\n" * (MAX_DEPTH + 1) + b":1\r\n",
        b"*2\r\n-ERR no\r\n:1\r\n",
        b"%1\r\n+a\r\n+b\r\n",
    ],
)
def test_invalid_bytes_raise(data: bytes) -> None:
    """Invalid bytes raise ServerMisbehaved, and so does an error inside an array.

    The client would take the rest of the array for the next reply.
    """
    with pytest.raises(ServerMisbehaved):
        read_reply(Bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_as_reply(data: bytes) -> None:
    """Any bytes are a reply, an error reply, invalid or incomplete."""
    with contextlib.suppress(RequestRefused, ServerMisbehaved, NotEnough):
        read_reply(Bytes(data))


def test_slice_has_header_and_crlf() -> None:
    """A slice has a header with its exact size, and ends with CRLF."""
    source = Bytes(b"$5\r\n1,1,2\r\n")
    read_bulk_header(source, 5)
    assert source.read_exactly(5) == b"1,1,2"
    read_bulk_trailer(source)
    assert source.rest == b""


@pytest.mark.parametrize(
    "data", [b"$4\r\n", b"$05\r\n", b"$-1\r\n", b":5\r\n", b"+5\r\n", b"*5\r\n"]
)
def test_other_reply_to_slice_request_raises(data: bytes) -> None:
    """A reply of another size or type raises before its bytes are read."""
    with pytest.raises(ServerMisbehaved):
        read_bulk_header(Bytes(data), 5)


def test_error_reply_to_slice_request_raises() -> None:
    """An error reply instead of a slice raises with its code."""
    with pytest.raises(RequestRefused, match="BUSY"):
        read_bulk_header(Bytes(b"-BUSY try again\r\n"), 5)


def test_slice_without_crlf_raises() -> None:
    """Bytes other than CRLF after a slice raise ServerMisbehaved."""
    with pytest.raises(ServerMisbehaved, match="not CRLF"):
        read_bulk_trailer(Bytes(b"12"))


def test_request_is_array_of_bulk_strings() -> None:
    """A request is an array of bulk strings with sizes in bytes."""
    want = b"*3\r\n$9\r\nFIB.RANGE\r\n$1\r\n0\r\n$2\r\n\xc3\xa9\r\n"
    assert encode_request("FIB.RANGE", 0, "é") == want
