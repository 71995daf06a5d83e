"""Interface of pending replies whose bytes are produced while a connection waits for them."""

from typing import Protocol, TypeAlias

__all__ = ["Buffer", "Stream", "StreamOwner"]

Buffer: TypeAlias = bytes | memoryview


class Stream(Protocol):
    """A pending reply.

    Until its first byte is sent, it can still become an error reply; after that, a failure breaks
    it, and the connection has to be closed.
    """

    sends_header_early: bool
    """Whether bytes may be sent before the first element is computed."""

    @property
    def started_at(self) -> float:
        """When it was started; 0 before that."""

    @property
    def has_begun(self) -> bool:
        """Whether a byte of it was sent."""

    @property
    def is_broken(self) -> bool:
        """Whether it failed after its first byte was sent."""

    @property
    def is_ready(self) -> bool:
        """Whether `buffers` would return any bytes."""

    @property
    def is_done(self) -> bool:
        """Whether all bytes have been sent."""

    @property
    def bytes_left(self) -> int:
        """Number of bytes that remain to be sent, as far as known; 0 if none."""

    def start(self, now: float) -> None:
        """Request what it needs next; may be called again.

        It fails if it would wait too long for its first byte.

        Args:
            now: The current time in seconds.
        """

    def stop(self) -> None:
        """Request nothing more, and release what it holds."""

    def fail(self, message: str, code: str) -> None:
        """Become an error reply, or a broken stream if a byte was sent already."""

    def buffers(self, limit: int) -> list[Buffer]:
        """Return bytes that can be sent now, about `limit` of them; `consume` removes them."""

    def consume(self, sent: int) -> None:
        """Remove the first `sent` bytes of what `buffers` returned, which have been sent."""


class StreamOwner(Protocol):
    """Sender of a stream."""

    def on_output_ready(self) -> None:
        """Schedule sending; called when bytes are ready to be sent."""

    def on_stream_started(self, stream: Stream) -> None:
        """Record the start of a stream; called when its first byte was sent."""

    def on_stream_failed(self, stream: Stream, code: str) -> None:
        """Record a failure; called when a stream became an error reply, or is broken."""
