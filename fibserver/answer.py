"""An answer in the making: a slice whose last bytes do not exist yet.

It stands in a connection's output among ready bytes. Its first bytes can be sent as soon as
they are published, since its length, and so its header, was known before. Until a byte of
it has been sent it can still turn into an error reply; after that the connection can only
be broken off.
"""

from collections.abc import Callable

from fibserver.fair_queue import FairQueue
from fibserver.growth import Block
from fibserver.replies import Slice, encode_error
from fibserver.shared_arrays import SharedArray

__all__ = ["Answer"]


class Answer:
    """The bytes of one slice, taken from an array while it grows.

    Attributes:
        last_block: the number of the last block it needs.
        is_broken: whether it failed after its first byte was sent.
    """

    def __init__(
        self,
        slice: Slice,
        array: SharedArray,
        queue: FairQueue,
        on_change: Callable[[], None],
    ) -> None:
        """Lay claim to an answer's blocks; it asks for none until it is started.

        Args:
            slice: what to send.
            array: the array of the slice's format.
            queue: where to wait for workers.
            on_change: is called when there is more to send, or an error.
        """
        self.last_block = array.growth.block_reaching(slice.stop)
        self.is_broken = False
        self._slice = slice
        self._array = array
        self._queue = queue
        self._on_change = on_change
        self._offset = array.offset(slice.start)
        self._end = self._offset + slice.size
        self._error = b""
        self._is_started = False
        self._has_begun = False
        array.add_waiter(self)

    def next_block(self) -> Block | None:
        """Return the next block to fill for this answer."""
        return self._array.growth.next_block(self.last_block)

    def start(self) -> None:
        """Begin to ask for blocks, if it has not begun yet."""
        if not self._is_started and not self._error:
            self._is_started = True
            self._queue.add(self)

    def stop(self) -> None:
        """Ask for no more blocks."""
        self._array.discard_waiter(self)
        self._queue.discard(self)

    def on_progress(self) -> None:
        """Have the connection send what there is."""
        self._on_change()

    def on_failure(self, message: str, code: str) -> None:
        """Become an error reply, or a broken answer if it is too late for that."""
        self.stop()  # or it would ask for the same block again
        if self._has_begun:
            self.is_broken = True
        else:
            self._error = encode_error(message, code)
        self._on_change()

    @property
    def is_ready(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self._error) or self._array.growth.published_bytes > self._offset

    def take(self) -> tuple[list[bytes | memoryview], bool]:
        """Return what can be sent now, and whether the answer ends with it."""
        if self._error:
            return [self._error], True
        end = min(self._array.growth.published_bytes, self._end)
        if end <= self._offset:
            return [], False
        parts: list[bytes | memoryview] = [] if self._has_begun else [self._slice.header]
        parts.append(self._array.bytes_between(self._offset, end))
        self._has_begun = True
        self._offset = end
        if end < self._end:
            return parts, False
        return [*parts, self._slice.trailer], True
