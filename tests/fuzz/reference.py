"""Reference for the expected output, without sockets, buffers and shared memory.

It uses the product's parser and commands with all bytes at once, and none of the code between them
and the peer. So its result must equal the output however the bytes are split, whatever the socket
accepts, and wherever the bytes of the replies come from.
"""

from itertools import accumulate
from typing import NamedTuple

from fibcommon.formats import FORMATS
from fibserver.commands import execute
from fibserver.commands.session import Session
from fibserver.compute.expressions import evaluate
from fibserver.protocol.reply_encoding import Calculation, CommandError, Reply, Slice, encode_error
from fibserver.protocol.request_parser import OtherProtocolError, ProtocolError, parse_request
from tests.support.expected import encoded

__all__ = ["Expected", "Reference"]

_VARYING = (b"SLOWLOG", b"LATENCY")
"""Commands whose replies depend on time."""


class Expected(NamedTuple):
    """Expected output for a client.

    Attributes:
        output: Output; for a client that sends HTTP, any prefix of it may be received.
        is_http: Whether it sends HTTP, after the requests with replies.
        varies: Whether the output depends on time.
        copied_bytes: Most bytes that the server may hold for a request: its replies, with copies
            of small slices, and more only while there is room.
    """

    output: bytes
    is_http: bool
    varies: bool
    copied_bytes: int

    def allows(self, output: bytes) -> bool:
        """Return whether a client may have received this."""
        if self.is_http:
            return self.varies or self.output.startswith(output)
        return self.varies or output == self.output


class Reference:
    """Elements of all formats, and the replies to requests with them."""

    def __init__(self, max_index: int) -> None:
        """Encode all elements up to `max_index`, naively."""
        self._bytes: dict[str, bytes] = {}
        self._offsets: dict[str, list[int]] = {}
        for name in FORMATS:
            elements = encoded(name, 0, max_index + 1)
            self._bytes[name] = b"".join(elements)
            self._offsets[name] = list(accumulate(map(len, elements), initial=0))

    def expected(self, session: Session, data: bytes) -> Expected:
        """Return the expected output for a client that sends these bytes and then ends."""
        parts: list[bytes] = []
        position = 0
        varies = False
        copied = 0
        while not session.is_quitting:
            try:
                request = parse_request(data, position)
            except OtherProtocolError:
                return Expected(b"".join(parts), True, varies, copied)
            except ProtocolError as error:
                parts.append(encode_error(f"Protocol error: {error}"))
                break
            if request is None:
                break
            position = request.end
            if request.arguments:
                varies |= request.arguments[0].upper() in _VARYING
                replies = self._replies(session, request.arguments)
                copied = max(
                    copied, sum(len(reply) for reply in replies if isinstance(reply, bytes))
                )
                parts += map(self._bytes_of, replies)
        return Expected(b"".join(parts), False, varies, copied)

    def _replies(self, session: Session, words: list[bytes]) -> list[Reply]:
        try:
            return list(execute(session, words)[2])
        except CommandError as error:
            return [encode_error(str(error), error.code)]

    def _bytes_of(self, reply: Reply) -> bytes:
        if isinstance(reply, Calculation):
            return reply.encode(evaluate(reply.expression))
        if not isinstance(reply, Slice):
            return reply
        name = reply.format.name
        offset = self._offsets[name][reply.start] + reply.skip
        assert reply.stop < len(self._offsets[name])
        body = self._bytes[name][offset : offset + reply.size]
        return reply.header + body + reply.trailer
