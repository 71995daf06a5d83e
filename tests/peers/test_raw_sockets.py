"""Malformed requests, slow readers and disconnecting clients, over plain sockets."""

import hashlib
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.expected import fibonacci, reply
from tests.support.servers import RunningServer
from tests.support.sockets import connected, read_exactly
from tests.support.waiting import wait_until

TIMEOUT_SECONDS = 30
"""Far above anything seen: reaching it is a failure, not a slow machine."""

Serve = Callable[..., RunningServer]


def read_to_end(sock: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    return read_exactly(sock, 1 << 40)


def assert_serves(server: RunningServer) -> None:
    """Check that a new connection is answered."""
    with connected(server) as sock:
        sock.sendall(b"PING\r\n")
        assert read_exactly(sock, 7) == b"+PONG\r\n"


def is_served(server: RunningServer) -> bool:
    """Return whether the server accepts one more connection."""
    with connected(server) as sock:
        try:
            sock.sendall(b"PING\r\n")
            return read_exactly(sock, 7) == b"+PONG\r\n"
        except ConnectionError:  # closed with our request unread
            return False


@pytest.mark.parametrize(
    "sent",
    [
        b"*1000000000\r\n",
        b"*17\r\n",
        b"*-2\r\n",
        b"*x\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1" + b"0" * 5000,
        b"*1\r\n:4\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$999999999999\r\n",
        b"*1\r\n$4\r\nPINGPONG\r\n",
        b"*16\r\n" + b"$1000\r\n%b\r\n" % (b"a" * 1000) * 16,
        b"a" * 5000,
        b"PING " + b"a" * 5000 + b"\r\n",
        b"PING " * 17 + b"\r\n",
        b'PING "abc\r\n',
        b"PING 'abc\r\n",
        b'PING "abc"d\r\n',
    ],
    ids=lambda sent: repr(sent[:24]),
)
def test_malformed_request_ends_its_connection_alone(server: RunningServer, sent: bytes) -> None:
    """A malformed request gets one error and closes its connection; others are served."""
    with connected(server) as sock:
        sock.sendall(sent + b"\r\nPING\r\n" * 1000)
        received = read_to_end(sock)
    assert received.startswith(b"-ERR Protocol error: ")
    assert received.endswith(b"\r\n")
    assert received.count(b"\n") == 1
    assert_serves(server)


def test_requests_before_a_malformed_one_are_answered(server: RunningServer) -> None:
    """The error for a malformed request follows the replies to the requests before it."""
    with connected(server) as sock:
        sock.sendall(b"ECHO a\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n")
        received = read_to_end(sock)
    assert received.startswith(b"$1\r\na\r\n+PONG\r\n-ERR Protocol error: ")
    assert received.count(b"PONG") == 1


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_get_only_errors(server: RunningServer, seed: int) -> None:
    """Random bytes get an error for each line, or close their connection; others are served."""
    noise = random.Random(seed).randbytes(20_000)
    with connected(server) as sock:
        sock.sendall(noise)
        sock.shutdown(socket.SHUT_WR)
        *lines, rest = read_to_end(sock).split(b"\r\n")
    assert rest == b""
    assert lines
    assert all(line.startswith(b"-ERR ") for line in lines)
    assert all(line.isascii() for line in lines)
    assert_serves(server)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /fib/10 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nPING\r\n",
        b"post /\r\n\r\nPING\r\n",
        b"PING / HTTP/1.1\r\n\r\nPING\r\n",
        b"Host: localhost\r\n\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda sent: repr(sent.partition(b"\r\n")[0]),
)
def test_http_is_closed_without_a_reply(server: RunningServer, sent: bytes) -> None:
    """HTTP and TLS get no reply, and the bytes after the first line are not executed.

    So a browser cannot be made to send requests, and a TLS client does not wait for a reply.
    """
    with connected(server) as sock:
        sock.sendall(sent)
        assert read_to_end(sock) == b""
    assert_serves(server)


def test_requests_may_come_byte_by_byte(server: RunningServer) -> None:
    """Inline requests and arrays get the same replies however they are split."""
    requests = (
        b'FIB.FIRST 5\r\n*3\r\n$9\r\nFIB.RANGE\r\n$1\r\n5\r\n$1\r\n9\r\nECHO "a\\r\\nb"\nQUIT\r\n'
    )
    with connected(server) as sock:
        for byte in requests:
            sock.sendall(bytes([byte]))
        received = read_to_end(sock)
    assert received == reply("array", 0, 5) + reply("array", 5, 9) + b"$4\r\na\r\nb\r\n+OK\r\n"


def test_long_pipeline_is_answered_in_order(server: RunningServer) -> None:
    """Ten thousand pipelined requests get their replies in order."""
    numbers = fibonacci(0, 90)
    requests = b"".join(
        b"FIB.NUMBER %d\r\nECHO %d\r\n" % (index % 90, index) for index in range(5000)
    )
    expected = b"".join(
        b"$%d\r\n%d\r\n" % (len(str(value)), value)
        for index in range(5000)
        for value in (numbers[index % 90], index)
    )
    with connected(server) as sock:
        sender = threading.Thread(target=sock.sendall, args=(requests,))
        sender.start()
        sender.join(5)  # as a rule it is through by then; if not, reading makes room
        received = read_exactly(sock, len(expected))
        sender.join(TIMEOUT_SECONDS)
    assert received == expected


def test_cold_replies_keep_their_place_in_a_pipeline(serve: Serve) -> None:
    """Replies keep the order of requests even if some must be computed first."""
    with connected(serve("--workers", "2")) as sock:
        sock.sendall(
            b"PING\r\nFIB.FIRST 2000\r\nECHO a\r\nFIB.RANGE 2500 3000 FORMAT csv\r\nPING\r\n"
        )
        expected = b"".join(
            [
                b"+PONG\r\n",
                reply("array", 0, 2000),
                b"$1\r\na\r\n",
                reply("csv", 2500, 3000),
                b"+PONG\r\n",
            ]
        )
        assert read_exactly(sock, len(expected)) == expected


def test_half_closed_connection_gets_all_replies(serve: Serve) -> None:
    """A client that shuts down its sending side, like `nc -N`, gets all replies."""
    with connected(serve("--workers", "1")) as sock:
        sock.sendall(b"FIB.FIRST 5000 FORMAT text\r\nPING\r\nFIB.FIRST 100\r\nFIB.NUMBER 5500\r\n")
        sock.shutdown(socket.SHUT_WR)
        received = read_to_end(sock)
    number = b"%d" % fibonacci(0, 5501)[5500]
    assert received == b"".join(
        [
            reply("text", 0, 5000),
            b"+PONG\r\n",
            reply("array", 0, 100),
            b"$%d\r\n%b\r\n" % (len(number), number),
        ]
    )


def test_client_that_never_reads_delays_only_itself(server: RunningServer) -> None:
    """Half a gigabyte of unread replies does not delay other clients."""
    with connected(server) as greedy:
        greedy.sendall(b"FIB.FIRST 5000\r\n" * 200)
        with connected(server) as modest:
            for _ in range(100):
                modest.sendall(b"FIB.FIRST 1000\r\n")
                expected = reply("array", 0, 1000)
                assert read_exactly(modest, len(expected)) == expected
        expected = reply("array", 0, 5000)
        assert read_exactly(greedy, len(expected)) == expected  # it was only waiting
    assert_serves(server)


def test_reset_connection_does_not_harm_the_server(serve: Serve) -> None:
    """A connection may be reset while its reply is computed or sent."""
    server = serve("--workers", "1")
    for count in range(1000, 6000, 500):
        with connected(server) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(b"FIB.FIRST %d\r\n" % count * 20)
            assert sock.recv(1) == b"*"
    assert_serves(server)
    with connected(server) as sock:
        expected = reply("array", 0, 6000)
        sock.sendall(b"FIB.FIRST 6000\r\n")
        assert read_exactly(sock, len(expected)) == expected


def test_quit_drops_what_follows(server: RunningServer) -> None:
    """QUIT is answered, later requests are ignored, and the connection is closed."""
    with connected(server) as sock:
        sock.sendall(b"PING\r\nQUIT\r\n" + b"PING\r\n" * 1000)
        assert read_to_end(sock) == b"+PONG\r\n+OK\r\n"
    assert_serves(server)


def test_longest_idle_client_is_closed_for_next(serve: Serve) -> None:
    """At max_clients the longest idle connection is closed for a new one."""
    server = serve(FIBSERVER_MAX_CLIENTS="3")
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for sock in (first, second, third, first):
            sock.sendall(b"PING\r\n")
            assert read_exactly(sock, 7) == b"+PONG\r\n"
        with connected(server) as fourth:
            fourth.sendall(b"PING\r\n")
            assert read_exactly(fourth, 7) == b"+PONG\r\n"
            assert read_to_end(second) == b""
            for sock in (first, third):
                sock.sendall(b"PING\r\n")
                assert read_exactly(sock, 7) == b"+PONG\r\n"


def test_clients_beyond_the_limit_get_an_error(serve: Serve) -> None:
    """While max_clients connections wait for replies a further one gets an error."""
    error = b"-ERR max number of clients reached\r\n"
    server = serve("--workers", "1", FIBSERVER_MAX_CLIENTS="3", FIBSERVER_DRAIN_TIMEOUT="0")
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for sock in (first, second, third):
            sock.sendall(b"PING\r\nFIB.FIRST 20000\r\n")  # 42 MB, more than socket buffers hold
            assert read_exactly(sock, 7) == b"+PONG\r\n"
        with connected(server) as fourth:
            assert read_to_end(fourth) == error
        second.close()
        wait_until(lambda: is_served(server), "the place of the closed connection is free")


def test_unix_socket_is_served_and_removed(serve: Serve, tmp_path: Path) -> None:
    """A server listens on a Unix socket, and removes its file when it stops."""
    path = tmp_path / "s"
    server = serve("--listen", f"unix:{path}")
    assert server.address == f"unix:{path}"
    with connected(server) as sock:
        sock.sendall(b"FIB.FIRST 3000 FORMAT json\r\nQUIT\r\n")
        assert read_to_end(sock) == reply("json", 0, 3000) + b"+OK\r\n"
    assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("sent", [b"", b"PING\r\n", b"*1\r\n$4\r\nPI"])
def test_idle_connection_is_closed(serve: Serve, sent: bytes) -> None:
    """A connection without a complete request is closed after idle_timeout."""
    server = serve(FIBSERVER_IDLE_TIMEOUT="1")
    with connected(server) as sock:
        sock.sendall(sent)
        assert read_to_end(sock) in (b"", b"+PONG\r\n")
    assert_serves(server)


def test_slow_reader_gets_every_byte(server: RunningServer) -> None:
    """A slow reader gets every byte of a reply that is larger than all socket buffers."""
    expected = reply("text", 0, 10_000)
    digest = hashlib.sha256()
    with connected(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(b"FIB.FIRST 10000 FORMAT text\r\n")
        size = 0
        while size < len(expected):
            part = sock.recv(4096)
            assert part, f"the reply ended after {size} bytes of {len(expected)}"
            digest.update(part)
            size += len(part)
    assert size == len(expected)
    assert digest.digest() == hashlib.sha256(expected).digest()


def test_text_of_a_client_cannot_forge_a_reply(server: RunningServer) -> None:
    """Errors do not repeat the CR and LF of a request."""
    with connected(server) as sock:
        for name in (b"X\r\n+OK", b"Y" * 1000):
            sock.sendall(b"*2\r\n$%d\r\n%b\r\n$4\r\n\r\n+A\r\n" % (len(name), name))
        sock.sendall(b"QUIT\r\n")
        lines = read_to_end(sock).split(b"\r\n")
    assert [line[:1] for line in lines] == [b"-", b"-", b"+", b""]
    assert max(map(len, lines)) < 400
