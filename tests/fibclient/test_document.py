"""Documents, whole and in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient import FibClient, RequestRefused
from fibclient.connections.encoded_slice import EncodedSlice
from fibclient.document import Document
from tests.support.expected import expected
from tests.support.servers import RunningServer

FRAMES = [(b"", b""), (b"[", b"]\n"), (b'{"n": 5, "value": ', b"}\n")]


@given(data=st.data())
def test_byte_range_is_part_of_document(server: RunningServer, data: st.DataObject) -> None:
    """Any byte range equals that part of the whole document."""
    opening, closing = data.draw(st.sampled_from(FRAMES))
    start = data.draw(st.integers(0, 30))
    stop = data.draw(st.integers(start, 60))
    document = Document(opening, EncodedSlice.of(start, stop, "json"), closing)
    whole = opening + expected("json", start, stop) + closing
    assert document.size == len(whole)
    begin = data.draw(st.integers(0, document.size))
    end = data.draw(st.integers(begin, document.size))
    with FibClient(server.address, cache_bytes=0) as client:
        assert b"".join(map(bytes, document.stream(client))) == whole
        assert b"".join(map(bytes, document.stream(client, begin, end))) == whole[begin:end]
        if document.slice.size:
            assert document.cached(client, 0, document.size) is None
    with FibClient(server.address) as client:
        client.read(0, stop, "json")
        views = document.cached(client, begin, end)
        assert views is not None
        assert b"".join(views) == whole[begin:end]


def test_error_reply_is_raised_before_opening(server: RunningServer) -> None:
    """An error reply is raised before the opening is yielded."""
    document = Document(b"[", EncodedSlice.of(0, 10**9, "json"), b"]\n")
    with FibClient(server.address) as client, pytest.raises(RequestRefused):
        next(document.stream(client))
