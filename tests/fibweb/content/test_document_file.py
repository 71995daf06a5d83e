"""Tests for documents as files."""

import io
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient import FibClient, RequestRefused
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from fibweb.content.document_file import PIECE_BYTES, DocumentFile
from tests.support.expected import expected
from tests.support.servers import RunningServer

N = 5000
WHOLE = b"[" + expected("json", 0, N) + b"]"


@pytest.fixture(params=[64 * 1024 * 1024, 0], ids=["cached", "not cached"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[FibClient]:
    """A client with a large cache, and one without a cache."""
    with FibClient(server.address, cache_bytes=request.param) as client:
        yield client


def file_of(client: FibClient, begin: int = 0, end: int = len(WHOLE)) -> DocumentFile:
    """Return a file of a byte range of the first numbers in brackets."""
    return DocumentFile(client, Document(b"[", EncodedSlice.of(0, N, "json"), b"]"), begin, end)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (0, len(WHOLE)),
        (0, 0),
        (0, 1),
        (1, 2),
        (len(WHOLE) - 1, len(WHOLE)),
        (17, PIECE_BYTES + 17),
        (5, 2 * PIECE_BYTES + 6),
    ],
)
@pytest.mark.parametrize("step", [10**9, 100_001])
def test_bytes_are_read_as_event_loop_reads(
    client: FibClient, begin: int, end: int, step: int
) -> None:
    """Cached bytes are returned, missing ones are fetched, and together they are the document."""
    file = file_of(client, begin, end)
    sent = b""
    while not file.is_at_end:
        if not file.views():
            file.hold(file.next_fetch().run(None))
        data = b"".join(file.views())[:step]
        assert data
        sent += data
        file.advance(len(data))
    assert not file.views()
    assert not file.held_bytes
    assert sent == WHOLE[begin:end]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_pieces_join_without_gaps(offset: int, size: int, piece_bytes: int) -> None:
    """Pieces of any size join without gaps."""
    whole = b"[" + expected("json", 3, 12) + b"]"
    document = Document(b"[", EncodedSlice.of(3, 12, "json"), b"]")
    begin = min(offset, len(whole))
    end = min(begin + size, len(whole))
    with FibClient("127.0.0.1:1", cache_bytes=0) as client:
        file = DocumentFile(client, document, begin, end)
        sent = b""
        while not file.is_at_end:
            if not file.views():
                _, start, stop = cast(tuple[str, int, int], file.next_fetch(piece_bytes).key)
                assert stop - start == 1 or len(expected("json", start, stop)) <= piece_bytes
                file.hold(expected("json", start, stop))
                assert file.held_bytes
            data = b"".join(file.views())
            sent += data
            file.advance(len(data))
    assert sent == whole[begin:end]


def test_large_element_is_a_piece(server: RunningServer) -> None:
    """An element that is larger than a piece is a piece by itself."""
    document = Document(b"", EncodedSlice.of(5_100_000, 5_100_003, "text"), b"")
    with FibClient(server.address, cache_bytes=0) as client:
        file = DocumentFile(client, document, 0, document.size)
        starts = []
        while not file.is_at_end:
            fetch = file.next_fetch()
            starts.append(cast(tuple[str, int, int], fetch.key)[1])
            assert fetch.size_bytes > PIECE_BYTES
            file.hold(bytes(fetch.size_bytes))
            file.advance(sum(map(len, file.views())))
    assert starts == [5_100_000, 5_100_001, 5_100_002]


def test_dropped_piece_is_fetched_again(client: FibClient) -> None:
    """After a piece was dropped midway, sending continues at the next byte."""
    file = file_of(client)
    file.hold(file.next_fetch().run(None))
    file.advance(1000)
    file.release_held()
    if not file.views():
        file.hold(file.next_fetch().run(None))
    assert b"".join(file.views()).startswith(WHOLE[1000:2000])


def test_cached_bytes_are_not_held(server: RunningServer) -> None:
    """Cached bytes are not held, and neither are those of a reopened file."""
    with FibClient(server.address) as client:
        file = file_of(client)
        assert not file.is_cached
        while not file.is_at_end:
            if not file.views():
                file.hold(file.next_fetch().run(None))
            assert not file.held_bytes
            file.advance(sum(map(len, file.views())))
        assert file.is_cached
        again = file.reopened()
        assert again.is_cached
        assert b"".join(again.views()) == WHOLE[: 4 * PIECE_BYTES]


def test_read_and_seek(client: FibClient) -> None:
    """`read` fetches missing bytes, and `seek` works from any position."""
    file = file_of(client, 3)
    whole = WHOLE[3:]
    assert file.seekable()
    data = b""
    while piece := file.read(100_000):
        assert type(piece) is bytes
        assert len(piece) <= 100_000
        data += piece
    assert data == whole
    assert file.seek(-5, io.SEEK_END) == len(whole) - 5
    assert b"".join(iter(file.read, b"")) == whole[-5:]
    file.seek(10)
    assert file.seek(5, io.SEEK_CUR) == 15
    assert file.read(4) == whole[15:19]
    assert file.tell() == 19


def test_closed_document_holds_no_bytes(client: FibClient) -> None:
    """After `close` no bytes are held, and they can be fetched again."""
    file = file_of(client)
    file.hold(file.next_fetch().run(None))
    file.close()
    assert not file.held_bytes
    assert WHOLE.startswith(file.read(3) + file.read(3))


def test_error_reply_is_raised_by_fetch(client: FibClient) -> None:
    """An error reply of the fibserver is raised by the fetch."""
    document = Document(b"[", EncodedSlice.of(20_000_000, 20_000_001, "json"), b"]")
    with pytest.raises(RequestRefused, match="max_index"):
        DocumentFile(client, document, 0, 10).next_fetch().run(None)
