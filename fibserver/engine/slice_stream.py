"""An answer under way: a slice whose bytes are sent from shared memory as they come to exist.

It stands in a connection's output. Its first part is read from the format's array, which
grows for it as far as memory allows; the rest comes in short-lived blocks, a few at a time and
only when they are about to be sent. An answer that starts far behind the end of the array takes
only short-lived blocks: filling all that lies between would take longer than the answer.

    elements   start ────────────── array_stop ─────────────────── stop
               from the array       from short-lived blocks, claimed in turn

Until a byte of it has been sent an answer can still turn into an error reply; after that the
connection can only be broken off. So nothing is sent ahead of the first elements, but for one
case: a client that sends no more may be listening still, or may have gone, and only sending to
it can tell.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from fibcommon.costs import first_element_seconds
from fibcommon.sizes import value_digits
from fibserver.core.fair_queue import FairQueue
from fibserver.memory.blocks import BLOCK_BYTES, Action, Block, Task, stop_of_block
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.memory.transient_blocks import TransientBlock, TransientBlocks
from fibserver.protocol.reply_encoding import Slice, encode_error

__all__ = ["Buffer", "SliceStream", "SliceStreamOwner"]

Buffer: TypeAlias = bytes | memoryview

MAX_GAP_BYTES = 16 * 1024 * 1024
"""An answer that starts no farther behind the end of the array makes the array grow to it: the
array is then there for all that follow, and filling the gap takes some 50 ms at most."""


class SliceStreamOwner(Protocol):
    """Whoever sends the answer."""

    def on_answer_ready(self) -> None:
        """Take note that there is something to send where there was nothing."""

    def on_answer_begun(self, answer: "SliceStream") -> None:
        """Take note that the first byte of it has been sent."""

    def on_answer_failed(self, answer: "SliceStream", code: str) -> None:
        """Take note that it has become an error reply, or is broken."""


class SliceStream:
    """The bytes of one slice, with header and trailer.

    Attributes:
        slice: what is asked for.
        array_stop: where the part ends that is read from the array; 0 if there is none.
        is_broken: whether it failed after its first byte was sent.
        has_begun: whether a byte of it has been sent.
        sends_header_early: whether what is known of it may be sent before the first element.
        started_at: when it first asked for blocks, 0 if it has not yet.
    """

    __slots__ = (
        "_array",
        "_array_end",
        "_arrays",
        "_claims",
        "_end",
        "_error",
        "_header",
        "_next_start",
        "_offset",
        "_owner",
        "_queue",
        "_refusal",
        "_scratch",
        "_trailer",
        "array_stop",
        "has_begun",
        "is_broken",
        "sends_header_early",
        "slice",
        "started_at",
    )

    def __init__(
        self,
        slice: Slice,
        arrays: SharedArrays,
        scratch: TransientBlocks,
        queue: FairQueue,
        refusal: Callable[[float], str | None],
        owner: SliceStreamOwner,
    ) -> None:
        """Prepare an answer; it asks for no block until it is started.

        Args:
            slice: what to send.
            arrays: where its bytes are, or are to come.
            scratch: where those come from that the arrays have no room for.
            queue: where to wait for workers.
            refusal: returns why an answer must not wait whose first block has this predicted
                cost in seconds, or None if it may.
            owner: is told when there is more to send, or an error.
        """
        self.slice = slice
        self.is_broken = False
        self.has_begun = False
        self.sends_header_early = False
        self._arrays = arrays
        self._array = array = arrays[slice.format]
        self._scratch = scratch
        self._queue = queue
        self._refusal = refusal
        self._owner = owner
        self._header = slice.header
        self._trailer = slice.trailer
        self._offset = array.offset(slice.start)  # of the next byte, among all elements
        self._end = self._offset + slice.size
        self._error = b""
        self.started_at = 0.0
        self._claims: deque[TransientBlock] = deque()  # in order, without gaps
        if self._offset <= array.growth.frontier_bytes + MAX_GAP_BYTES:
            self._read_array_up_to(slice.stop, self._end)
            array.use(slice.stop)
        else:
            self._leave_array()

    def _read_array_up_to(self, stop: int, offset: int) -> None:
        """Say where the array's part ends, as element and as offset."""
        self.array_stop = self._next_start = stop  # next_start: of the next block to claim
        self._array_end = offset
        self._array.add_reader(self)

    def _leave_array(self) -> None:
        """Take all from short-lived blocks."""
        self.array_stop = 0
        self._next_start = self.slice.start
        self._array_end = self._offset
        self._array.discard_reader(self)

    # What it needs.

    def start(self, now: float) -> None:
        """Begin, or go on, to ask for the blocks that are needed next.

        An answer that would wait too long for the first of them fails at once.

        Args:
            now: the time.
        """
        if not self.started_at:
            self.started_at = now
            reason = self._refusal(self.cost_seconds) if self._lacks_some else None
            if reason is not None:
                self.fail(reason, "BUSY")
        self._ask()

    def stop(self) -> None:
        """Ask for no more blocks, and let go of those it has."""
        self._array.discard_reader(self)
        self._queue.discard(self)
        self._scratch.forget(self)
        self._give_up_claims(0)

    def _ask(self) -> None:
        if self.started_at and self._lacks_some and not self._error and not self.is_broken:
            self._queue.add(self)

    @property
    def _lacks_some(self) -> bool:
        """Whether some of its blocks are not claimed yet, nor published when it came.

        Its elements may have come to be published since it left the array: then it still needs a
        turn, to find them there.
        """
        return self._array.growth.published < self.array_stop or self._next_start < self.slice.stop

    @property
    def cost_seconds(self) -> float:
        """Predicted time of a worker for its next block."""
        frontier = self._array.growth.frontier
        start = frontier if frontier < self.array_stop else self._next_start
        return first_element_seconds(self.slice.format, start)

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait for the first byte; None if that has been sent."""
        return None if self.has_begun else self.started_at

    def next_task(self) -> Task | None:
        """Return the next block to fill for this answer, None if it needs none at present."""
        task = self._arrays.next_task(self._array, self.array_stop)
        if task is not None:
            return task
        growth = self._array.growth
        if growth.frontier < self.array_stop:
            # There is no more memory: what comes from here on does not stay.
            if growth.frontier > self.slice.start:
                self._read_array_up_to(growth.frontier, growth.frontier_bytes)
            else:
                self._leave_array()
        return self._claim_next()

    def _claim_next(self) -> Task | None:
        growth = self._array.growth
        if growth.published > self._next_start:
            # Others have made the array grow meanwhile, beyond all that is claimed.
            self._give_up_claims(0)
            end = min(growth.published_bytes, self._end)
            self._read_array_up_to(min(growth.published, self.slice.stop), end)
            self._owner.on_answer_ready()
        while self._may_claim:
            start = self._next_start
            stop = stop_of_block(self.slice.format, start, self.slice.stop)
            claim = self._scratch.claim(self, self.slice.format, start, stop)
            if claim is None:
                return None
            entry, is_new = claim
            self._claims.append(entry)
            self._next_start = stop
            if is_new:
                return Task(Action.FILL, entry.block)
            self.on_progress()
        return None

    @property
    def _may_claim(self) -> bool:
        """Whether to claim one more block: the next is about to be sent, and it holds few."""
        return (
            self._next_start < self.slice.stop
            and self._array_end - self._offset <= BLOCK_BYTES
            and len(self._claims) < self._scratch.most_claims
        )

    # What it is told.

    def on_progress(self) -> None:
        """Have what has come sent, if there is any."""
        if self.started_at and self.is_ready:
            self._owner.on_answer_ready()

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Fail, if it has asked for the block or any behind it."""
        if self.started_at:
            self.fail(message, code)

    def fail(self, message: str, code: str) -> None:
        """Become an error reply, or a broken answer if it is too late for that."""
        if self._error or self.is_broken:
            return
        self.stop()
        if self.has_begun:
            self.is_broken = True
        else:
            self._error = encode_error(message, code)
        self._owner.on_answer_failed(self, code)

    def on_evicted(self, entry: TransientBlock) -> None:
        """Be ready to ask again for what was taken away, and for what comes behind it."""
        self._give_up_claims(self._claims.index(entry))
        start = entry.block.start
        if self._offset > entry.offset:  # a part of it has been sent
            start = entry.block.format.stop_within(start, self._offset - entry.offset)
        self._next_start = start

    def _give_up_claims(self, kept: int) -> None:
        while len(self._claims) > kept:
            self._scratch.release(self, self._claims.pop())

    def on_free_slot(self) -> None:
        """Try again to claim a block."""
        self._ask()

    # What it has to send.

    @property
    def is_ready(self) -> bool:
        """Whether `buffers` would return anything."""
        if self._error or self._offset == self._end or self._may_be_sent_ahead:
            return True
        if self._offset < self._array_end:
            return self._array.growth.published_bytes > self._offset
        return bool(self._claims) and self._claims[0].is_filled

    @property
    def _may_be_sent_ahead(self) -> bool:
        return self.sends_header_early and not self.has_begun

    @property
    def bytes_left(self) -> int:
        """How many bytes of it are still to be sent."""
        if self._error:
            return len(self._error)
        return len(self._header) + self._end - self._offset + len(self._trailer)

    @property
    def is_done(self) -> bool:
        """Whether all of it has been sent."""
        return self.bytes_left == 0

    def buffers(self, limit: int) -> list[Buffer]:
        """Return what can be sent now, about `limit` bytes of it; it stays until dropped."""
        if self._error:
            return [self._error]
        if self._offset == self._end:
            return [self._trailer]
        body = self._next_bytes(limit)
        if not body:
            return [self._first_bytes] if self._may_be_sent_ahead else []
        parts: list[Buffer] = [self._header, body] if self._header else [body]
        if self._trailer and self._offset + len(body) == self._end:
            parts.append(self._trailer)
        return parts

    @property
    def _first_bytes(self) -> bytes:
        """What is known of the reply before any of it is computed."""
        return self._header or b"$%d\r\n" % value_digits(self.slice.start)

    def _next_bytes(self, limit: int) -> memoryview | None:
        offset = self._offset
        end = offset + limit
        if offset < self._array_end:
            end = min(end, self._array_end, self._array.growth.published_bytes)
            return self._array.bytes_between(offset, end) if offset < end else None
        if self._claims and self._claims[0].is_filled:
            head = self._claims[0]
            return self._scratch.bytes_between(head, offset, min(end, head.end, self._end))
        return None

    def drop(self, sent: int) -> None:
        """Note that the first `sent` bytes of what `buffers` returned have been sent."""
        if self._error:
            self._error = self._error[sent:]
            self._header = self._trailer = b""
            self._offset = self._end
            return
        if not self.has_begun:
            self.has_begun = True
            self._owner.on_answer_begun(self)
        if self._header:
            of_header = min(sent, len(self._header))
            self._header = self._header[of_header:]
            sent -= of_header
        of_body = min(sent, self._end - self._offset)
        self._trailer = self._trailer[sent - of_body :]
        if self._offset >= self._array_end:
            self._array.streamed_bytes += of_body
        self._offset += of_body
        if self._next_start < self.slice.stop or self._claims:
            self._go_on()

    def _go_on(self) -> None:
        """Let go of what has been sent, and ask for what is needed next."""
        if self._offset >= self._array_end:
            self._array.discard_reader(self)
            self.array_stop = 0  # the array may shrink: it must not grow again for this
        while self._claims and self._claims[0].end <= self._offset:
            self._scratch.release(self, self._claims.popleft())
        if self._next_start < self.slice.stop:
            self._ask()
