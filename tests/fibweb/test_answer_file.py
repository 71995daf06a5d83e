"""Documents as files: what is at hand, what has to be fetched, and the bytes in any case."""

import io
from collections.abc import Iterator

import pytest

from fibclient import FibClient, RequestRefused
from fibclient.answers import Answer
from fibclient.document import Document
from fibweb.answer_file import SEGMENT_BYTES, AnswerFile, MustWait
from tests.numbers import expected
from tests.servers import RunningServer

N = 5000
WHOLE = b"[" + expected("json", 0, N) + b"]"


@pytest.fixture(params=[64 * 1024 * 1024, 0], ids=["cached", "not cached"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[FibClient]:
    """A client with a cache for all, and one with none."""
    with FibClient(server.address, cache_bytes=request.param) as client:
        yield client


def file_of(client: FibClient, begin: int = 0, end: int = len(WHOLE)) -> AnswerFile:
    """Return a part of the first numbers in brackets."""
    return AnswerFile(client, Document(b"[", Answer.of(0, N, "json"), b"]"), begin, end)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (0, len(WHOLE)),
        (0, 0),
        (0, 1),
        (1, 2),
        (len(WHOLE) - 1, len(WHOLE)),
        (17, SEGMENT_BYTES + 17),
        (5, 2 * SEGMENT_BYTES + 6),
    ],
)
def test_taken_as_the_event_loop_does(client: FibClient, begin: int, end: int) -> None:
    """What is at hand is taken, what is not is loaded, and in the end all of it was there."""
    file = file_of(client, begin, end)
    file.open(may_wait=True)
    taken: list[memoryview] = []
    while file.tell() < file.size:
        if not file.is_at_hand:
            file.load()
        taken += file.take()
    assert file.is_at_hand
    assert not file.take()
    assert b"".join(taken) == WHOLE[begin:end]


def test_read_as_by_anybody(client: FibClient) -> None:
    """It is a file: reading fetches what is missing, and seeking works from anywhere."""
    file = file_of(client, 3)
    whole = WHOLE[3:]
    assert file.seekable()
    data = b""
    while piece := file.read(100_000):
        assert len(piece) <= 100_000
        data += piece
    assert data == whole
    assert file.seek(-5, io.SEEK_END) == len(whole) - 5
    assert file.read() == whole[-5:]
    file.seek(10)
    assert file.seek(5, io.SEEK_CUR) == 15
    assert file.read(4) == whole[15:19]
    assert file.tell() == 19


def test_taken_from_the_middle(client: FibClient) -> None:
    """What comes before the position is left out."""
    file = file_of(client)
    file.open(may_wait=True)
    file.seek(1000)
    taken = b"".join(file.take())
    assert taken == WHOLE[1000 : 1000 + len(taken)]
    file.seek(1000)
    file.load()
    file.seek(0)
    assert not file.take()
    assert not file.is_at_hand


def test_what_may_not_wait(client: FibClient) -> None:
    """It is refused unless the cache has all of it."""
    file = file_of(client)
    with pytest.raises(MustWait):
        file.open(may_wait=False)
    file.open(may_wait=True)
    if file.cached() is None:
        with pytest.raises(MustWait):
            file_of(client).open(may_wait=False)
    else:
        again = file_of(client)
        again.open(may_wait=False)
        assert b"".join(again.take()) == WHOLE


def test_closed(client: FibClient) -> None:
    """It lets go of the bytes, and can be asked for them again."""
    file = file_of(client)
    file.open(may_wait=True)
    file.close()
    assert not file.is_at_hand
    assert file.read(3) == WHOLE[:3]


def test_refused(client: FibClient) -> None:
    """A refusal comes with opening, before anything was promised to anybody."""
    document = Document(b"[", Answer.of(20_000_000, 20_000_001, "json"), b"]")
    with pytest.raises(RequestRefused, match="max_index"):
        AnswerFile(client, document, 0, 10).open(may_wait=True)
