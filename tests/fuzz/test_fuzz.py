"""Fuzzing in the suite: all seeds, some thousands of mutations, and a real server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import psutil
import pytest

from fibcommon.addresses import parse_address
from fibserver.core.fair_queue import FairQueue
from fibserver.engine.slice_stream import SliceStream
from fibserver.memory.shared_arrays import SharedArray
from fibserver.network import request_handler as handler
from fibserver.network.output_queue import OutputQueue
from tests.fuzz.fakes import open_server
from tests.fuzz.harness import Case, FuzzFailure, Harness, load_corpus
from tests.fuzz.live import assert_serves, attack
from tests.fuzz.mutation import MAX_INPUT_BYTES, Mutator
from tests.fuzz.reply_parser import MalformedReplyError, parse_replies
from tests.support.servers import DEADLINE_SECONDS, RunningServer

CORPUS = load_corpus()
SEED = 20240229


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    """A harness, shared so that its arrays reach many states."""
    with open_server() as server:
        yield Harness(server)


def mutator(harness: Harness, rng: Random) -> Mutator:
    """Return a mutator of the corpus."""
    costly = [seed for seed in CORPUS.values() if harness.is_costly(seed)]
    return Mutator([seed for seed in CORPUS.values() if seed not in costly], costly, rng)


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS)
def test_seed(harness: Harness, data: bytes) -> None:
    """A seed gets the replies of the reference, whole, byte by byte and split at random."""
    harness.check_thoroughly(data)


def test_mutations(harness: Harness) -> None:
    """Mutated inputs, some with faults, meet all requirements."""
    rng = Random(SEED)
    mutate = mutator(harness, rng)
    for _ in range(3000):
        harness.check(Case(mutate(), rng.getrandbits(64)))


def test_crowds(harness: Harness) -> None:
    """Concurrent clients get the same replies as alone."""
    rng = Random(SEED)
    mutate = mutator(harness, rng)
    for _ in range(20):
        harness.check_crowd(mutate.crowd(12), rng.getrandbits(64))


def test_a_fresh_array_may_grow_past_an_answer_that_left_it() -> None:
    """A stream of far blocks continues when its elements are published."""
    with open_server() as server:
        Harness(server).check_thoroughly(CORPUS["pipeline-far-behind-growth"])


@pytest.mark.parametrize("plan", range(20))
def test_array_may_shrink_below_a_stream(plan: int) -> None:
    """A stream that has left its array does not return to it after an eviction."""
    with open_server() as server:
        late = b"".join(b"FIB.FIRST 900 FORMAT %b\r\n" % name for name in (b"csv", b"bfile"))
        inputs = [b"FIB.FIRST 1950 FORMAT text\r\n", b"ECHO %b\r\n" % (b"x" * 900) * 9 + late * 3]
        Harness(server).check_crowd(inputs, plan)


def test_mutations_repeat(harness: Harness) -> None:
    """The same seed generates the same inputs, of bounded length."""
    first, second = (mutator(harness, Random(SEED)) for _ in range(2))
    inputs = [first() for _ in range(2000)]
    assert inputs == [second() for _ in range(2000)]
    assert max(map(len, inputs)) <= MAX_INPUT_BYTES
    assert len(set(inputs)) > 1500


# The fuzzer finds what it is there to find.


def _raise(*_arguments: object) -> Any:
    raise RuntimeError("sabotage")


def _encode_badly(message: str, code: str = "ERR") -> bytes:
    return f"-{code} {message}\n".encode()


def _encode_twice(message: str, code: str = "ERR") -> bytes:
    return f"-{code} {message}\r\n+OK\r\n".encode()


def _keep(self: SliceStream) -> None:
    self._queue.discard(self)


_drop = SliceStream.consume


def _drop_more(self: SliceStream, sent: int) -> None:
    _drop(self, sent + (1 if sent > 100 else 0))


_bytes_between = SharedArray.bytes_between


def _between(self: SharedArray, offset: int, end: int) -> memoryview:
    return _bytes_between(self, offset + 1, end + 1)


SABOTAGES: dict[str, tuple[Any, str, Any, str, bytes]] = {
    "exception": (handler, "execute", _raise, "RuntimeError", b"PING\r\n"),
    "malformed reply": (handler, "encode_error", _encode_badly, "bad line", b"NOSUCH\r\n"),
    "reply behind the last": (handler, "encode_error", _encode_twice, "behind", b"*x\r\n"),
    "reader left": (SliceStream, "stop", _keep, "reading text", b"FIB.FIRST 300 FORMAT text\r\n"),
    "no turn": (FairQueue, "add", lambda *_: None, "stuck", b"FIB.FIRST 1900 FORMAT csv\r\n"),
    "never full": (OutputQueue, "is_full", False, "pending", b"FIB.FIRST 99\r\n" * 500),
    "wrong byte": (
        SharedArray,
        "bytes_between",
        _between,
        "expected",
        b"FIB.FIRST 9 FORMAT csv\r\n",
    ),
    "byte lost": (
        SliceStream,
        "consume",
        _drop_more,
        "is not",
        b"FIB.FIRST 300 FORMAT bfile\r\n",
    ),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_sabotage_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the product is found."""
    where, attribute, replacement, message, data = SABOTAGES[name]
    with open_server() as server:
        harness = Harness(server)
        monkeypatch.setattr(where, attribute, replacement)
        try:
            with pytest.raises(FuzzFailure, match=message):
                harness.check_thoroughly(data)
        finally:
            monkeypatch.undo()  # before the server closes


@pytest.mark.parametrize(
    "data",
    [
        *(b"PONG\r\n", b"+PONG\n", b"+A\rB\r\n", b"-ODD code\r\n", b"-ERR\r\n", b"-ERR \xff\r\n"),
        *(b"-ERR " + b"x" * 700 + b"\r\n", b":01\r\n", b":+1\r\n", b":x\r\n", b"$-2\r\n"),
        *(b"$01\r\na\r\n", b"$1\r\nab\r\n", b"*-1\r\n", b"*1\r\nx\r\n", b"_\r\n", b"%0\r\n"),
        *(b"%7\r\n$6\r\nserver\r\n$1\r\na\r\n", b"$1\r\na\n\n", b"\0", b"\r\n", b"#t\r\n"),
    ],
)
def test_parser_is_strict(data: bytes) -> None:
    """Invalid replies are rejected; an incomplete one is not whole."""
    try:
        assert not parse_replies(data).is_whole
    except MalformedReplyError:
        return
    assert data.startswith(b"%7")


# A real server.


def wait_for_descriptors(process: psutil.Process, count: int) -> None:
    """Wait until a process has at most `count` descriptors open."""
    pause = Event()
    for _ in range(DEADLINE_SECONDS * 100):
        if process.num_fds() <= count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{process.num_fds()} descriptors are open, at first it were {count}")


def test_live_server(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Mutated inputs, split, half-closed and reset, leave a real server unchanged."""
    with open_server() as fake:
        rng = Random(SEED)
        mutate = mutator(Harness(fake), rng)
        inputs = [mutate() for _ in range(400)]
    server = serve("--workers", "2", FIBSERVER_MAX_INDEX="3000", FIBSERVER_MEMORY_LIMIT="1MiB")
    address = parse_address(server.address)
    assert_serves(address)
    workers = {worker.pid for worker in server.workers()}
    descriptors = server.process.num_fds()
    for number, data in enumerate(inputs, 1):
        attack(address, data, rng)
        if number % 12 == 0:
            assert_serves(address)
    assert_serves(address)
    wait_for_descriptors(server.process, descriptors)
    assert {worker.pid for worker in server.workers()} == workers
    assert "Traceback" not in server.log.read_text()
