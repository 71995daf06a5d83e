"""Listening socket: accepts connections as far as the admission policy allows."""

import logging
import select
import socket
import time

from fibcommon.addresses import plain_host
from fibcommon.service.admission import NEWCOMER_SECONDS
from fibweb.overload.connection_admission import AdmissionDecision
from fibweb.server.channel import Channel, ServerContext
from fibweb.server.request_context import ClientAddress

__all__ = ["Listener"]

log = logging.getLogger(__name__)

ACCEPTS_PER_ITERATION = 16
"""Connections accepted per iteration, so that a burst of them does not delay the others."""


class Listener:
    """Listening socket, TCP or Unix, whose connections inherit its options.

    Attributes:
        context: State of the server that its connections share.
        paused_until: Monotonic time until which no connection is accepted.
    """

    def __init__(self, sock: socket.socket, context: ServerContext) -> None:
        """Register a listening socket with the event loop; `close` closes it."""
        sock.setblocking(False)
        self.context = context
        self.paused_until = 0.0
        self._socket = sock
        context.loop.register(sock.fileno(), self)

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening; it may be called again."""
        if self._socket.fileno() >= 0:
            self.context.loop.unregister(self._socket.fileno())
            self._socket.close()

    def handle_events(self, events: int) -> None:
        """Accept pending connections, up to `ACCEPTS_PER_ITERATION`."""
        admission = self.context.admission
        for _ in range(ACCEPTS_PER_ITERATION):
            verdict = AdmissionDecision.SERVE
            if admission.is_full:
                if not self._has_pending:
                    return
                verdict = admission.admit()
                if verdict is AdmissionDecision.WAIT:
                    self._pause()
                    return
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # this client has disconnected already
            except OSError as error:
                # accept(2) may report a lack of descriptors although no connection is pending.
                if not self._has_pending:
                    return
                if not admission.make_room():
                    log.warning("cannot accept connections, retrying soon: %s", error)
                    self._pause()
                    return
                continue
            if verdict is AdmissionDecision.REJECT:
                sock.close()
                continue
            client: ClientAddress = ("localhost", None)
            if sock.family != socket.AF_UNIX:
                client = (plain_host(address[0]), address[1])
            try:
                channel = Channel(sock, client, self.context)
            except Exception as error:  # disconnected already, or epoll is out of memory
                log.warning("cannot set up an accepted connection: %r", error)
                sock.close()
                continue
            channel.is_surplus = verdict is AdmissionDecision.SERVE_ONCE

    def _pause(self) -> None:
        self.paused_until = time.monotonic() + NEWCOMER_SECONDS

    @property
    def _has_pending(self) -> bool:
        """Whether a connection is pending in the backlog."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def handle_error(self) -> None:
        """Log the current exception and pause."""
        log.exception("cannot accept connections, retrying soon")
        self._pause()
