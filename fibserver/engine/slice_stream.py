"""Stream of a slice's bytes, sent from shared memory while its blocks are computed.

A stream is part of a connection's output. Its first part is read from the format's array, which
grows for it as far as memory allows. The rest comes from far blocks, which are claimed a few at a
time, shortly before they are sent. A stream that starts far beyond the end of the array uses only
far blocks: filling the gap would take longer than the reply.

    elements   start ────────────── array_stop ─────────────────── stop
               from the array       from far blocks, claimed in order

Filled blocks are claimed at once, without a worker; the stream is queued only for missing ones.

Until its first byte is sent, a stream can still become an error reply; after that, a failure
closes the connection. So nothing is sent before the first elements are there, with one exception:
a client that has shut down its sending side may still be reading or may be gone, and only sending
to it reveals which.
"""

from collections import deque
from collections.abc import Callable

from fibcommon.costs import first_element_seconds
from fibcommon.sizes import value_digits
from fibserver.core.fair_queue import FairQueue
from fibserver.engine.stream import Buffer, StreamOwner
from fibserver.memory.blocks import BLOCK_BYTES, Action, Block, Task, stop_of_block
from fibserver.memory.far_block import FarBlock
from fibserver.memory.far_blocks import FarBlocks
from fibserver.memory.shared_arrays import SharedArrays
from fibserver.protocol.reply_encoding import Slice, encode_error

__all__ = ["SliceStream"]

MAX_GAP_BYTES = 16 * 1024 * 1024
"""Maximum gap between the end of the array and a stream's start that the array grows to close.
Filling the gap takes some 50 ms at most, and later requests find the elements there."""


class SliceStream:
    """The bytes of one slice, with header and trailer.

    Attributes:
        slice: The requested elements.
        array_stop: The element after the last that is read from the array; 0 if none is.
        is_broken: Whether the stream failed after its first byte was sent.
        has_begun: Whether a byte of it was sent.
        sends_header_early: Whether the header may be sent before the first element is computed.
        started_at: When it was started; 0 before that.
    """

    __slots__ = (
        "_array",
        "_array_end",
        "_claims",
        "_end",
        "_error",
        "_far_blocks",
        "_header",
        "_next_start",
        "_offset",
        "_owner",
        "_queue",
        "_refusal",
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
        far_blocks: FarBlocks,
        queue: FairQueue,
        refusal: Callable[[float], str | None],
        owner: StreamOwner,
    ) -> None:
        """Create a stream; it requests no blocks until it is started.

        Args:
            slice: The elements to send.
            arrays: The arrays of published elements.
            far_blocks: Blocks for elements that the arrays have no room for or that lie far
                beyond their end.
            queue: Queue for workers.
            refusal: Called with the predicted cost of the first block, in seconds; returns an
                error message if the stream would wait too long, else None.
            owner: Notified of progress and failure.
        """
        self.slice = slice
        self.is_broken = False
        self.has_begun = False
        self.sends_header_early = False
        self._array = array = arrays[slice.format]
        self._far_blocks = far_blocks
        self._queue = queue
        self._refusal = refusal
        self._owner = owner
        self._header = slice.header
        self._trailer = slice.trailer
        # Of the next byte, among all elements.
        self._offset = array.offset(slice.start) + slice.skip
        self._end = self._offset + slice.size
        self._error = b""
        self.started_at = 0.0
        self._claims: deque[FarBlock] = deque()  # in order, without gaps
        if self._offset <= array.growth.frontier_bytes + MAX_GAP_BYTES:
            self._read_array_up_to(slice.stop, self._end)
            array.touch(slice.stop)
        else:
            self._leave_array()

    def _read_array_up_to(self, stop: int, offset: int) -> None:
        """Set the end of the part that is read from the array, as element and as offset."""
        self.array_stop = self._next_start = stop  # next_start: start of the next block to claim
        self._array_end = offset
        self._array.add_reader(self)

    def _leave_array(self) -> None:
        """Read everything from far blocks."""
        self.array_stop = 0
        self._next_start = self.slice.start
        self._array_end = self._offset
        self._array.discard_reader(self)

    # Requesting blocks.

    def start(self, now: float) -> None:
        """Request the blocks that are needed next; may be called again.

        Fails the stream if it would wait too long for its first block.

        Args:
            now: The current time in seconds.
        """
        self._claim_filled()
        if not self.started_at:
            self.started_at = now
            waits = self._lacks_blocks and not self._claims
            reason = self._refusal(self.cost_seconds) if waits else None
            if reason is not None:
                self.fail(reason, "BUSY")
        self._enqueue()

    def stop(self) -> None:
        """Stop requesting blocks, and release all claims."""
        self._array.discard_reader(self)
        self._queue.discard(self)
        self._far_blocks.cancel_wait(self)
        self._release_claims(0)

    def _enqueue(self) -> None:
        if self.started_at and self._lacks_blocks:
            self._queue.add(self)

    @property
    def _lacks_blocks(self) -> bool:
        """Whether blocks are missing from the array, or not claimed yet.

        After the stream left the array, others may publish its elements there: it stays queued to
        detect that.
        """
        return self._array.growth.published < self.array_stop or self._next_start < self.slice.stop

    @property
    def cost_seconds(self) -> float:
        """Predicted time in which a worker computes its next block."""
        frontier = self._array.growth.frontier
        start = frontier if frontier < self.array_stop else self._next_start
        return first_element_seconds(self.slice.format, start)

    @property
    def waiting_since(self) -> float | None:
        """When its client began to wait for the first byte; None once that was sent."""
        return None if self.has_begun else self.started_at

    def next_task(self) -> Task | None:
        """Return a task for the next missing block, or None if none can be requested now."""
        block = self._array.next_block(self.array_stop)
        if block is not None:
            return Task(Action.FILL, block)
        growth = self._array.growth
        if growth.frontier < self.array_stop:
            # No memory is left: continue with far blocks.
            if growth.frontier > self.slice.start:
                self._read_array_up_to(growth.frontier, growth.frontier_bytes)
            else:
                self._leave_array()
        return self._claim_next()

    def _claim_next(self) -> Task | None:
        growth = self._array.growth
        if growth.published > self._next_start:
            # Other streams have made the array grow beyond the claimed blocks.
            self._release_claims(0)
            end = min(growth.published_bytes, self._end)
            self._read_array_up_to(min(growth.published, self.slice.stop), end)
            self._owner.on_output_ready()
        while self._may_claim:
            claim = self._claim()
            if claim is None:
                return None
            block, is_new = claim
            if is_new:
                return Task(Action.FILL, block.block)
            self.on_progress()
        return None

    def _claim_filled(self) -> None:
        """Claim the next blocks as far as they are in memory."""
        while (
            self._may_claim
            and self._array.growth.frontier >= self.array_stop
            and self._far_blocks.is_filled((self.slice.format, self._next_start, self._next_stop))
        ):
            if self._claim() is None:
                return
            self.on_progress()

    @property
    def _next_stop(self) -> int:
        return stop_of_block(self.slice.format, self._next_start, self.slice.stop)

    def _claim(self) -> tuple[FarBlock, bool] | None:
        """Claim the next block; return it and whether it is new, or None if no slot is free."""
        stop = self._next_stop
        key = (self.slice.format, self._next_start, stop)
        # Were blocks kept that follow the array, they would evict its end, which comes first.
        follows_array = self._array_end > self._end - self.slice.size
        claim = self._far_blocks.claim(self, key, is_kept=not follows_array)
        if claim is not None:
            self._claims.append(claim[0])
            self._next_start = stop
        return claim

    @property
    def _may_claim(self) -> bool:
        """Whether to claim another block: it will be sent soon, and the limit allows it."""
        return (
            self._next_start < self.slice.stop
            and self._array_end - self._offset <= BLOCK_BYTES
            and len(self._claims) < self._far_blocks.max_claims
        )

    # Progress and failure.

    def on_progress(self) -> None:
        """Notify the owner if bytes are ready to be sent."""
        if self.started_at and self.is_ready:
            self._owner.on_output_ready()

    def on_failure(self, block: Block, message: str, code: str) -> None:
        """Fail, if the stream was started."""
        if self.started_at:
            self.fail(message, code)

    def fail(self, message: str, code: str) -> None:
        """Become an error reply, or a broken stream if a byte was sent already."""
        if self._error or self.is_broken:
            return
        self.stop()
        self.array_stop, self._next_start = 0, self.slice.stop  # it needs no more blocks
        if self.has_begun:
            self.is_broken = True
        else:
            self._error = encode_error(message, code)
        self._owner.on_stream_failed(self, code)

    def on_claim_lost(self, block: FarBlock) -> None:
        """Prepare to claim a block again, and all blocks after it."""
        self._release_claims(self._claims.index(block))
        self._next_start = block.block.start

    def _release_claims(self, kept: int) -> None:
        while len(self._claims) > kept:
            self._far_blocks.release(self, self._claims.pop())

    def on_free_slot(self) -> None:
        """Retry claiming a block, from `start` if it is filled."""
        self._enqueue()
        self._owner.on_output_ready()

    # Sending.

    @property
    def is_ready(self) -> bool:
        """Whether `buffers` would return any bytes."""
        if self._error or self._offset == self._end or self._may_send_early:
            return True
        if self._offset < self._array_end:
            return self._array.growth.published_bytes > self._offset
        return bool(self._claims) and self._claims[0].is_filled

    @property
    def _may_send_early(self) -> bool:
        return self.sends_header_early and not self.has_begun

    @property
    def bytes_left(self) -> int:
        """Number of bytes that remain to be sent."""
        if self._error:
            return len(self._error)
        return len(self._header) + self._end - self._offset + len(self._trailer)

    @property
    def is_done(self) -> bool:
        """Whether all bytes have been sent."""
        return self.bytes_left == 0

    def buffers(self, limit: int) -> list[Buffer]:
        """Return bytes that can be sent now, about `limit` of them; `consume` removes them."""
        if self._error:
            return [self._error]
        if self._offset == self._end:
            return [self._trailer]
        body = self._next_bytes(limit)
        if not body:
            return [self._early_bytes] if self._may_send_early else []
        parts: list[Buffer] = [self._header, body] if self._header else [body]
        if self._trailer and self._offset + len(body) == self._end:
            parts.append(self._trailer)
        return parts

    @property
    def _early_bytes(self) -> bytes:
        """The header, or the first line of a single element: known before it is computed."""
        return self._header or b"$%d\r\n" % value_digits(self.slice.start)

    def _next_bytes(self, limit: int) -> memoryview | None:
        offset = self._offset
        end = offset + limit
        if offset < self._array_end:
            end = min(end, self._array_end, self._array.growth.published_bytes)
            return self._array.bytes_between(offset, end) if offset < end else None
        if self._claims and self._claims[0].is_filled:
            head = self._claims[0]
            return self._far_blocks.bytes_between(head, offset, min(end, head.end, self._end))
        return None

    def consume(self, sent: int) -> None:
        """Remove the first `sent` bytes of what `buffers` returned, which have been sent."""
        if self._error:
            self._error = self._error[sent:]
            self._header = self._trailer = b""
            self._offset = self._end
            return
        if not self.has_begun:
            self.has_begun = True
            self._owner.on_stream_started(self)
        if self._header:
            header_sent = min(sent, len(self._header))
            self._header = self._header[header_sent:]
            sent -= header_sent
        body_sent = min(sent, self._end - self._offset)
        self._trailer = self._trailer[sent - body_sent :]
        if self._offset >= self._array_end:
            self._array.streamed_bytes += body_sent
        self._offset += body_sent
        if self._next_start < self.slice.stop or self._claims:
            self._advance()

    def _advance(self) -> None:
        """Release what has been sent, and request what is needed next."""
        if self._offset >= self._array_end:
            self._array.discard_reader(self)
            self.array_stop = 0  # if the array shrinks, do not make it grow again
        while self._claims and self._claims[0].end <= self._offset:
            self._far_blocks.release(self, self._claims.popleft())
        if self._next_start < self.slice.stop:
            self._enqueue()
