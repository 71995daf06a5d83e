"""What a client must get, worked out the plain way: no socket, no buffers, no shared memory.

Parser and commands are the product's own, fed with all bytes at once; everything between
them and the peer is done without. So what this returns is what must come out however the
bytes are cut, whatever room the socket has, and wherever the answers' bytes come from.
"""

from itertools import accumulate
from typing import NamedTuple

from fibcommon.formats import FORMATS
from fibserver.commands import execute
from fibserver.commands.session import Session
from fibserver.protocol.reply_encoding import CommandError, Reply, Slice, encode_error
from fibserver.protocol.request_parser import OtherProtocolError, ProtocolError, parse_request
from tests.support.expected import encoded

__all__ = ["Expected", "Reference"]

_VARYING = (b"SLOWLOG", b"LATENCY")
"""The commands that tell of time."""


class Expected(NamedTuple):
    """What a client must get.

    Attributes:
        output: the bytes; if it sends HTTP, any beginning of them.
        is_http: whether it sends HTTP, behind as many requests as have a reply here.
        varies: whether the output depends on time.
        copied_bytes: the most that a request may have the server hold: its replies, of which
            a small slice may be copied, and more only while there is room.
    """

    output: bytes
    is_http: bool
    varies: bool
    copied_bytes: int

    def allows(self, output: bytes) -> bool:
        """Return whether a client may have got this."""
        if self.is_http:
            return self.varies or self.output.startswith(output)
        return self.varies or output == self.output


class Reference:
    """The elements of all formats, and how requests are answered with them."""

    def __init__(self, max_index: int) -> None:
        """Encode all elements up to `max_index`, naively."""
        self._bytes: dict[str, bytes] = {}
        self._offsets: dict[str, list[int]] = {}
        for name in FORMATS:
            elements = encoded(name, 0, max_index + 1)
            self._bytes[name] = b"".join(elements)
            self._offsets[name] = list(accumulate(map(len, elements), initial=0))

    def answer(self, session: Session, data: bytes) -> Expected:
        """Return what a client must get that sends these bytes and then ends."""
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
        if not isinstance(reply, Slice):
            return reply
        name = reply.format.name
        offset = self._offsets[name][reply.start]
        assert reply.stop < len(self._offsets[name])
        body = self._bytes[name][offset : offset + reply.size]
        return reply.header + body + reply.trailer
