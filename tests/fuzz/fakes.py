"""Surroundings of a connection under test: its socket, its server and the engine's workers.

The engine is the real one, arena included; `HandWorkedEngine` only replaces its workers, in this
process and when the harness wants. All limits are scaled down, so that inputs of a hundred bytes
reach them: a reply of a few kilobytes has several blocks, ten replies fill an output, and the
memory does not suffice for all arrays. Nothing here reads the real clock.
"""

import errno
import itertools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from fibcommon.costs import first_element_seconds
from fibcommon.formats import FORMATS, Format
from fibserver.commands import server as server_commands
from fibserver.commands.session import ClientInfo, Session
from fibserver.compute.expressions import evaluate
from fibserver.core import fair_queue
from fibserver.core.client_limits import SLICE_SECONDS, OutputTotal
from fibserver.core.event_loop import EventLoop
from fibserver.core.listings import Listings
from fibserver.core.statistics import Statistics
from fibserver.engine import slice_stream
from fibserver.engine.engine import Engine
from fibserver.engine.stream import Buffer, Stream, StreamOwner
from fibserver.memory import block_sequence as growth
from fibserver.memory import blocks, layout
from fibserver.memory.blocks import Action, Block, Task
from fibserver.monitoring.slow_log import SlowLog
from fibserver.network import connection
from fibserver.network import output_queue as output
from fibserver.network import request_handler as handler
from fibserver.network.connection import ClientConnection
from fibserver.network.reply_cache import ReplyCache
from fibserver.protocol.reply_encoding import Calculation, Slice
from fibserver.protocol.request_parser import OtherProtocolError
from fibserver.settings import ServerSettings
from fibserver.workers.worker import Outcome, Report

__all__ = ["MAX_INDEX", "FakeSocket", "FuzzedServer", "HandWorkedEngine", "open_server"]

MAX_INDEX = 2000
MEMORY_LIMIT = 192 * 1024
MAX_ANSWER_BYTES = 440 * 1024
"""Enough for the array of all numbers, not for all of them as ndjson."""

PASSWORD = b"secret"
CLIENT_ID = 7
MAX_RENDERED = 4000
"""How many blocks are kept, of 16 KiB at most."""
EXPENSIVE_SECONDS = first_element_seconds(FORMATS["text"], 1899)
TIME_NS = 1_700_000_000_123_456_789

_SCALED: tuple[tuple[Any, str, float], ...] = (
    (slice_stream, "BLOCK_BYTES", 16 * 1024),
    (slice_stream, "MAX_GAP_BYTES", 48 * 1024),
    (blocks, "BLOCK_BYTES", 16 * 1024),
    (blocks, "EXPENSIVE_SECONDS", EXPENSIVE_SECONDS),
    (connection, "READ_BYTES", 1024),
    (handler, "JOIN_BELOW_BYTES", 4 * 1024),
    (fair_queue, "EXPENSIVE_SECONDS", EXPENSIVE_SECONDS),
    (growth, "BLOCK_BYTES", 16 * 1024),
    (growth, "FIRST_BLOCK_BYTES", 4 * 1024),
    (layout, "BLOCK_BYTES", 16 * 1024),
    (output, "MAX_BUFFERS", 8),
    (output, "MAX_PENDING_BYTES", 8 * 1024),
    (output, "MAX_PENDING_PIECES", 32),
    (output, "MAX_SEND_BYTES", 8 * 1024),
)


class FakeSocket:
    """Socket whose peer sends given chunks, then ends, and receives in random portions.

    Attributes:
        chunks: Chunks to receive, the next one last.
        has_ended: Whether the peer has shut down its sending side.
        received: Bytes that the peer has received.
        is_broken: Whether every operation fails from now on.
        is_closed: Whether the socket has been closed.
    """

    __slots__ = ("_rng", "chunks", "has_ended", "is_broken", "is_closed", "received")

    def __init__(self, chunks: list[bytes], rng: Random | None) -> None:
        """Receive everything at once without `rng`, else random portions."""
        self.chunks = chunks
        self.has_ended = True
        self.received: list[bytes] = []
        self.is_broken = False
        self.is_closed = False
        self._rng = rng

    @property
    def is_readable(self) -> bool:
        """Whether there are bytes to receive, or the end."""
        return bool(self.chunks) or self.has_ended

    def recv(self, size: int) -> bytes:
        """Receive the next chunk, or a part of it."""
        self._check()
        if not self.chunks:
            if not self.has_ended:
                raise BlockingIOError
            return b""
        if self._rng and self._rng.random() < 0.05:
            raise BlockingIOError
        chunk = self.chunks[-1]
        if len(chunk) <= size:
            return self.chunks.pop()
        self.chunks[-1] = chunk[size:]
        return chunk[:size]

    def send(self, data: bytes) -> int:
        """Send some bytes."""
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[Buffer]) -> int:
        """Send some buffers."""
        self._check()
        data = b"".join(buffers)
        assert data, "nothing to send"
        if self._rng:
            if self._rng.random() < 0.15:
                raise BlockingIOError
            data = data[: 1 + int(self._rng.random() ** 4 * 9000)]
        self.received.append(data)
        return len(data)

    def shutdown(self, how: int) -> None:
        """Shut down the sending side."""
        self._check()

    def close(self) -> None:
        """Close the socket, once."""
        assert not self.is_closed, "closed twice"
        self.is_closed = True

    def _check(self) -> None:
        assert not self.is_closed, "used after it was closed"
        if self.is_broken:
            raise ConnectionResetError(errno.ECONNRESET, "ClientConnection reset by peer")


def _no_worker(*_arguments: object) -> None:
    raise AssertionError("workers are played by hand")


class HandWorkedEngine(Engine):
    """Engine whose workers are played by the harness.

    Attributes:
        in_hand: Tasks that were taken and are not finished.
        has_answered: Whether a reply has started since this was last set to False.
    """

    def __init__(self, settings: ServerSettings, loop: EventLoop, statistics: Statistics) -> None:
        super().__init__(settings, loop, statistics, _no_worker)
        self.in_hand: list[Task] = []
        self.has_answered = False
        self._rendered: dict[tuple[Format, int, int], tuple[bytes, bytes]] = {}

    def open_stream(self, reply: Slice | Calculation, owner: StreamOwner) -> Stream:
        """Return the stream of a reply."""
        self.has_answered = True
        return super().open_stream(reply, owner)

    def take_task(self) -> bool:
        """Take the next task, as a worker does; return whether there was one."""
        task = self.queue.pop()
        if task is not None:
            self.in_hand.append(task)
        return task is not None

    def finish_task(self, number: int = 0) -> None:
        """Execute one of the tasks in hand; repeated results are copied."""
        task = self.in_hand.pop(number)
        if task.action is Action.CALCULATE:
            self.task_done(task, Report(Outcome.DONE, value=evaluate(task.expression)))
            return
        block, arena = task.block, self._arena
        key = block.format, block.start, block.stop
        rendered = self._rendered.get(key)
        if rendered is None:
            arena.fill(block)
            if len(self._rendered) < MAX_RENDERED:
                self._rendered[key] = bytes(self._views(block)[0]), bytes(self._views(block)[1])
        else:
            ends, data = rendered
            if block.is_resident and not ends:
                arena.fill(block)  # it is known as a far block only
            else:
                arena.reserve(block)
                ends_view, data_view = self._views(block)
                ends_view[:], data_view[:] = ends[: len(ends_view)], data
        self.task_done(task, Report(Outcome.DONE))

    def _views(self, block: Block) -> tuple[memoryview, memoryview]:
        """Return the views of a block's index entries, None without any, and of its bytes."""
        ends = memoryview(bytearray())
        if block.is_resident:
            index_end = block.index_position + 8 * (block.stop - block.start)
            ends = self._arena.bytes_between(block.index_position, index_end)
        return ends, self._arena.view(block)

    def fail_task(self, number: int, how: int) -> None:
        """Fail one of the tasks in hand: no memory, given up, or a dead worker."""
        task = self.in_hand.pop(number)
        if how == 0 and task.action is Action.FILL:
            self.task_done(task, Report(Outcome.FAILED, errno.ENOSPC))
        elif how <= 1:
            self.task_given_up(task, "3 workers died over one block")
        else:
            self.queue.put_back(task)

    def warm(self, elements: int) -> None:
        """Fill the first elements of all arrays."""
        for array in self.arrays:
            while array.growth.published < elements:
                block = array.next_block(elements)
                assert block is not None, "there is memory for so few"
                self.in_hand.append(Task(Action.FILL, block))
                self.finish_task()

    @property
    def leaks(self) -> list[str]:
        """What is left of replies that have ended; no task may be in hand."""
        queue, far_blocks = self.queue, self.far_blocks
        found = {
            "waiting, cheap": queue._cheap,
            "waiting, expensive": queue._expensive,
            "put back": queue._put_back,
            "waiting for a slot": far_blocks._waiting_small | far_blocks._waiting_large,
            "in slots": far_blocks._claimed,
            **{f"reading {array.format.name}": array._readers for array in self.arrays},
        }
        return [f"{len(objects)} {what}" for what, objects in found.items() if objects]


class FuzzedServer:
    """Server as commands and connections see it; it is the same in all runs.

    Attributes:
        engine: Real engine without workers.
        loop: Clock only.
        output_total: Total pending output.
        to_send: Connections in the queue.
        held: Connections that wait for the delay of a failed authentication.
        waiting: Number of connections that wait for workers.
        faults: Errors that connections have logged.
        has_rejected_http: Whether HTTP was rejected since this was last set to False.
        has_broken_off: Whether a reply was broken off since this was last set to False.
    """

    unavailable_reason: tuple[str, str] | None = None

    def __init__(self) -> None:
        self._settings = ServerSettings(
            max_index=MAX_INDEX,
            workers=2,
            memory_limit=MEMORY_LIMIT,  # less than the minimum, which only `load` checks
            max_answer_bytes=MAX_ANSWER_BYTES,
        )
        ticks = itertools.cycle(range(40))
        self._loop = EventLoop(lambda: 1000.0)
        # Some requests after the beginning of a slice it is over.
        self._loop.budget.clock = lambda: self._loop.now + next(ticks) * SLICE_SECONDS / 10
        self.statistics = Statistics()
        self.slow_log = SlowLog()
        self.reply_cache = ReplyCache()
        self.password: bytes | None = None
        self.engine: Engine = HandWorkedEngine(self._settings, self._loop, self.statistics)
        self.output_total = OutputTotal()
        self.listings = Listings()
        self.to_send: dict[ClientConnection, None] = {}
        self.held: dict[ClientConnection, None] = {}
        self.waiting = 0
        self.faults: list[str] = []
        self.has_rejected_http = False
        self.has_broken_off = False
        self._others = [Session(self, number, f"127.0.0.1:5000{number}") for number in (8, 9)]
        self._sessions: list[Session] = []

    @property
    def hands(self) -> HandWorkedEngine:
        """The engine with its workers' side."""
        return cast(HandWorkedEngine, self.engine)

    def connect(self, sock: FakeSocket) -> ClientConnection:
        """Return a new connection."""
        return ClientConnection(cast(Any, sock), self.new_session(), self)

    def new_session(self) -> Session:
        """Return the session of a new client; there are two others."""
        session = Session(self, CLIENT_ID, f"127.0.0.1:5000{CLIENT_ID}")
        self._sessions = [session, *self._others]
        return session

    # What connections need.

    @property
    def loop(self) -> EventLoop:
        """Clock of the loop."""
        return self._loop

    def want_events(self, connection: ClientConnection, events: int) -> None:
        """Change the events that a connection is registered for."""
        assert not cast(FakeSocket, connection.socket).is_closed, "closed and watched"

    def serve_later(self, connection: ClientConnection, *, is_busy: bool = False) -> None:
        """Queue a call of `on_event`."""
        connection.queued_since = self.loop.now
        self.to_send[connection] = None

    def delay_error(self, connection: ClientConnection) -> None:
        """Queue a call of `release`."""
        self.held[connection] = None

    def count_waiting(self, change: int) -> None:
        """Count connections that wait for workers."""
        self.waiting += change

    def unregister(self, connection: ClientConnection) -> None:
        """Unregister a connection that is about to close its socket."""
        assert not cast(FakeSocket, connection.socket).is_closed, "closed before forgotten"
        self.to_send.pop(connection, None)
        self.held.pop(connection, None)

    # What commands ask.

    def monotonic(self) -> float:
        """Return the time."""
        return self.loop.budget.clock()

    @property
    def settings(self) -> ServerSettings:
        """The settings in force."""
        return self._settings

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return the size in bytes of elements start to stop-1."""
        return self.engine.arrays[format].slice_size(start, stop)

    def info_text(self, sections: list[str]) -> str:
        """Return the names of the requested sections."""
        return ",".join(sections)

    def clients(self) -> Iterable[ClientInfo]:
        """Return information on all clients."""
        return map(_facts, list(self._sessions))

    def client(self, client_id: int) -> ClientInfo | None:
        """Return information on one client."""
        return next(
            (client for client in self.clients() if client.session.client_id == client_id), None
        )

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        assert client_id != CLIENT_ID, "it must outlive its reply"
        self._sessions = [session for session in self._sessions if session.client_id != client_id]

    def close(self) -> None:
        """Release the memory."""
        self.engine.close()
        self._loop.close()


def _facts(session: Session) -> ClientInfo:
    return ClientInfo(session, "127.0.0.1:11235", 5, 10, 0, 0, 0, 0, "r")


class _LogReader(logging.Handler):
    """Handler that records what connections log."""

    def __init__(self, server: FuzzedServer) -> None:
        super().__init__()
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        """Record faults, and ignore expected messages."""
        if record.levelno >= logging.ERROR:
            self._server.faults.append(self.format(record))
        elif isinstance(record.args, tuple) and isinstance(record.args[-1], OtherProtocolError):
            self._server.has_rejected_http = True
        elif "failed authentication" in record.msg:
            pass
        else:
            self._server.has_broken_off = True


@contextmanager
def open_server() -> Iterator[FuzzedServer]:
    """Scale all limits down, and create a server; restore the limits at the end."""
    saved = [(module, name, getattr(module, name)) for module, name, _ in _SCALED]
    for module, name, value in _SCALED:
        setattr(module, name, value)
    server = FuzzedServer()
    clocks: tuple[tuple[Any, str, Any], ...] = (
        (handler, "time", lambda: TIME_NS / 1e9),
        (server_commands, "time", SimpleNamespace(time_ns=lambda: TIME_NS)),
    )
    saved += [(module, name, getattr(module, name)) for module, name, _ in clocks]
    for module, name, clock in clocks:
        setattr(module, name, clock)
    loggers, engine_logger = (
        (connection.log, handler.log),
        logging.getLogger("fibserver.engine.engine"),
    )
    levels = [logger.level for logger in (*loggers, engine_logger)]
    reader = _LogReader(server)
    for logger in loggers:
        logger.addHandler(reader)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    engine_logger.setLevel(logging.CRITICAL)
    try:
        server.hands.warm(150)
        yield server
    finally:
        for logger in loggers:
            logger.removeHandler(reader)
            logger.propagate = True
        for logger, level in zip((*loggers, engine_logger), levels, strict=True):
            logger.setLevel(level)
        for module, name, value in saved:
            setattr(module, name, value)
        server.close()


assert set(FORMATS) == {"array", "json", "text", "csv", "ndjson", "bfile", "binary"}, (
    "a new format needs a seed in the corpus"
)
