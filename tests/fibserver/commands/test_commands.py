"""Tests of the commands, against a server without sockets, workers and arena."""

import contextlib
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from fibcommon.formats import FORMATS, Format
from fibcommon.indices import zeckendorf
from fibcommon.units import exact_size_text
from fibserver.commands import COMMANDS, execute
from fibserver.commands.session import ClientInfo, Session
from fibserver.commands.transaction import MAX_QUEUED
from fibserver.compute.expressions import evaluate
from fibserver.core.listings import Listings
from fibserver.core.statistics import Statistics
from fibserver.monitoring.slow_log import MAX_ENTRIES, SlowLog
from fibserver.protocol.reply_encoding import (
    Calculation,
    CommandError,
    Reply,
    Slice,
    encode,
    encode_error,
)
from fibserver.settings import ServerSettings
from tests.support.expected import encoded

PONG = b"+PONG\r\n"
OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"


class CommandServer:
    """Server with settings and clients that records calls.

    Attributes:
        sized: Format and stop of each call of `slice_size`.
        sessions: Sessions by client ID.
        closed: IDs of the clients that were closed.
        scans: Number of calls of `clients`.
        waiting: IDs of the clients that wait for workers.
        unavailable_reason: Error code and message of PING, None if healthy.
    """

    unavailable_reason: tuple[str, str] | None = None

    def __init__(self, settings: ServerSettings, password: bytes | None = None) -> None:
        self.statistics = Statistics()
        self.slow_log = SlowLog()
        self.listings = Listings()
        self.password = password
        self.sized: list[tuple[str, int]] = []
        self.sessions: dict[int, Session] = {}
        self.closed: list[int] = []
        self.scans = 0
        self.waiting: set[int] = set()
        self._settings = settings

    @property
    def settings(self) -> ServerSettings:
        """Settings in force."""
        return self._settings

    def monotonic(self) -> float:
        """Return a constant time."""
        return 1000.0

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return and record the size of a slice."""
        self.sized.append((format.name, stop))
        return format.slice_size(start, stop)

    def info_text(self, sections: list[str]) -> str:
        """Return the names of the requested sections."""
        return ",".join(sections)

    def clients(self) -> Iterator[ClientInfo]:
        """Return information on all clients."""
        self.scans += 1
        return filter(None, map(self.client, list(self.sessions)))

    def client(self, client_id: int) -> ClientInfo | None:
        """Return information derived from the client ID."""
        if client_id not in self.sessions:
            return None
        return ClientInfo(
            session=self.sessions[client_id],
            local_address=f"127.0.0.1:{client_id}",
            fd=client_id + 10,
            age_seconds=100,
            idle_seconds=20,
            received_bytes=3,
            output_pieces=4,
            output_bytes=500,
            events="rw",
            is_waiting=client_id in self.waiting,
        )

    def close_client(self, client_id: int) -> None:
        """Remove a client."""
        del self.sessions[client_id]
        self.closed.append(client_id)


class CommandRunner:
    """Client that runs requests and returns the bytes of their replies.

    Attributes:
        session: Session of the client.
        server: Server that the client is connected to.
    """

    def __init__(
        self,
        server: CommandServer | None = None,
        client_id: int = 7,
        address: str = "127.0.0.1:50000",
        **settings: Any,
    ) -> None:
        self.server = CommandServer(ServerSettings(**settings)) if server is None else server
        self.session = Session(self.server, client_id, address)
        self.server.sessions[client_id] = self.session

    def __call__(self, line: str | list[bytes]) -> bytes:
        """Run a request, and return its replies as sent."""
        args = line.encode().split() if isinstance(line, str) else line
        _, _, replies = execute(self.session, args)
        return b"".join(map(sent, replies))

    def error(self, line: str | list[bytes]) -> str:
        """Run a request that fails, and return the error line without the '-'."""
        with pytest.raises(CommandError) as caught:
            self(line)
        reply = encode_error(str(caught.value), caught.value.code)
        assert reply.endswith(b"\r\n")
        assert not set(reply[:-2]) & set(b"\r\n")
        return reply[1:-2].decode()


@pytest.fixture
def run() -> CommandRunner:
    """Return a client of a server with default settings."""
    return CommandRunner()


def sent(reply: Reply) -> bytes:
    """Return the bytes of a reply; slices are encoded naively."""
    if isinstance(reply, Calculation):
        return reply.encode(evaluate(reply.expression))
    if not isinstance(reply, Slice):
        return reply
    elements = b"".join(encoded(reply.format.name, reply.start, reply.stop))
    if not reply.skip and reply.header != b"$%d\r\n" % reply.size:
        assert 0 <= len(elements) - reply.size <= reply.format.separator_size
    return reply.header + elements[reply.skip : reply.skip + reply.size] + reply.trailer


def bulk(text: str) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


def bulks(*texts: str) -> bytes:
    """Return an array of bulk strings."""
    return b"*%d\r\n%b" % (len(texts), b"".join(map(bulk, texts)))


def digits(*values: str) -> bytes:
    """Return the pairs of the reply to FIB.DIGITS."""
    return b"".join(map(bulk, chain(*zip(("digits", "first", "last"), values, strict=True))))


def position(indices: list[int], below: int | None, above: int, sum_of: list[int]) -> bytes:
    """Return the pairs of the reply to FIB.INDEX."""
    values = {"indices": indices, "below": below, "above": above, "zeckendorf": sum_of}
    return b"".join(bulk(name) + encode(value) for name, value in values.items())


HELLO_FIELDS = {
    "server": bulk("redis"),
    "version": bulk("7.4.0"),
    "proto": b":2\r\n",
    "id": b":7\r\n",
    "mode": bulk("standalone"),
    "role": bulk("master"),
    "modules": b"*0\r\n",
}
HELLO_BODY = b"".join(bulk(name) + value for name, value in HELLO_FIELDS.items())
HELLO_2 = b"*14\r\n" + HELLO_BODY
HELLO_3 = b"%7\r\n" + HELLO_BODY.replace(b":2\r\n", b":3\r\n")

REPLIES = [
    ("PING", PONG),
    ("PING hello", bulk("hello")),
    ("ping", PONG),
    ("ECHO hello", bulk("hello")),
    ("QUIT", OK),
    ("QUIT now please", OK),
    ("RESET", b"+RESET\r\n"),
    ("SELECT 0", OK),
    ("SELECT 000", OK),
    ("AUTH default anything", OK),
    ("HELLO", HELLO_2),
    ("HELLO 2", HELLO_2),
    ("HELLO 3", HELLO_3),
    ("hello 3 auth default anything setname me", HELLO_3),
    ("CLIENT SETINFO LIB-NAME redis-py", OK),
    ("client setinfo lib-ver 8.1.0", OK),
    ("CLIENT SETNAME me", OK),
    ("CLIENT GETNAME", b"$-1\r\n"),
    ("CLIENT ID", b":7\r\n"),
    ("CLIENT NO-EVICT ON", OK),
    ("INFO", bulk("")),
    ("INFO Server ALL", bulk("server,all")),
    ("CONFIG GET save", bulks("save", "")),
    ("CONFIG GET nothing", b"*0\r\n"),
    ("COMMAND COUNT", b":%d\r\n" % len(COMMANDS)),
    ("COMMAND LIST", bulks(*(name.decode().lower() for name in COMMANDS))),
    ("MULTI", OK),
    ("FIB.FIRST 0", b"*0\r\n"),
    ("FIB.FIRST 5", bulks("0", "1", "1", "2", "3")),
    ("fib.first 5 format json", bulk('"0","1","1","2","3"')),
    ("FIB.FIRST 5 FORMAT Text", bulk("0\n1\n1\n2\n3\n")),
    ("FIB.FIRST 2 FORMAT CSV", bulk("0,0\n1,1\n")),
    ("FIB.FIRST 1 FORMAT ndjson", bulk('{"n":0,"value":"0"}\n')),
    ("FIB.FIRST 2 FORMAT bfile", bulk("0 0\n1 1\n")),
    ("FIB.FIRST 2 FORMAT binary", bulk("\0\0\0\0\1\0\0\0\1")),
    ("FIB.FIRST 2 FORMAT array", bulks("0", "1")),
    ("FIB.FIRST 0 FORMAT json", bulk("")),
    ("FIB.FIRST 000000000003", bulks("0", "1", "1")),
    ("FIB.RANGE 7 9", bulks("13", "21")),
    ("FIB.RANGE 7 9 FORMAT json", bulk('"13","21"')),
    ("FIB.RANGE 0 1", bulks("0")),
    ("FIB.RANGE 7 7", b"*0\r\n"),
    ("FIB.RANGE 7 7 FORMAT binary", bulk("")),
    ("FIB.NUMBER 0", bulk("0")),
    ("FIB.NUMBER 100", bulk("354224848179261915075")),
    ("FIB.NUMBER 100 FORMAT array", bulk("354224848179261915075")),
    ("FIB.NUMBER 007 FORMAT text", bulk("13\n")),
    ("FIB.NUMBER 7 FORMAT json", bulk('"13"')),
    ("FIB.NUMBER 100 FROM 0 COUNT 3", bulk("354")),
    ("FIB.NUMBER 100 COUNT 4 FROM 10", bulk("7926")),
    ("FIB.NUMBER 100 count 2 format text", bulk("35")),
    ("FIB.NUMBER 100 FROM 20", bulk("5")),
    ("FIB.NUMBER 100 FROM 19 COUNT 1000000", bulk("75")),
    ("FIB.NUMBER 100 FROM 5 COUNT 0", b"$0\r\n\r\n"),
    ("FIB.NUMBER 100 FROM 21", b"$0\r\n\r\n"),
    ("FIB.NUMBER 0 COUNT 5", bulk("0")),
    ("FIB.NUMBER 7 FORMAT csv", bulk("7,13\n")),
    ("FIB.SIZE 0 5", b":35\r\n"),
    ("FIB.SIZE 0 5 FORMAT json", b":19\r\n"),
    ("FIB.SIZE 7 8 FORMAT binary", b":5\r\n"),
    ("FIB.SIZE 7 7 FORMAT json", b":0\r\n"),
    ("FIB.DIGITS 100", b"*6\r\n" + digits("21", "35422484817926191507", "54224848179261915075")),
    ("FIB.DIGITS 100 FIRST 3", b"*6\r\n" + digits("21", "354", "54224848179261915075")),
    ("fib.digits 100 last 4 first 0", b"*6\r\n" + digits("21", "", "5075")),
    ("FIB.DIGITS 0 FIRST 1000 LAST 1000", b"*6\r\n" + digits("1", "0", "0")),
    ("FIB.DIGITS 0060 FIRST 2 LAST 3", b"*6\r\n" + digits("13", "15", "920")),
    ("FIB.DIGITS 60 COUNT 0", b"*0\r\n"),
    (
        "FIB.DIGITS 60 FIRST 2 LAST 3 COUNT 2",
        b"*2\r\n*6\r\n" + digits("13", "15", "920") + b"*6\r\n" + digits("13", "25", "961"),
    ),
    ("FIB.MOD 100 1000", bulk("75")),
    ("FIB.MOD 0007 0010", bulk("3")),
    ("FIB.MOD 5 1", bulk("0")),
    (f"FIB.MOD {10**100} {10**20}", bulk("59183788299560546875")),
    ("FIB.INDEX 832040", b"*8\r\n" + position([30], 29, 31, [30])),
    ("FIB.INDEX 1", b"*8\r\n" + position([1, 2], 0, 3, [2])),
    ("FIB.INDEX 0", b"*8\r\n" + position([0], None, 1, [])),
    ("fib.index 0100", b"*8\r\n" + position([], 11, 12, [11, 6, 4])),
    ("FIB.INDEX DIGITS 1000", bulk("4782")),
    ("fib.index digits 1", bulk("0")),
]

INVALID_REQUESTS = [
    ("NOSUCH", "ERR unknown command 'NOSUCH', with args beginning with: "),
    ("GET a b c", "ERR unknown command 'GET', with args beginning with: 'a' 'b'"),
    ("PING a b", "ERR wrong number of arguments for 'ping' command"),
    ("SELECT 1", "ERR DB index is out of range"),
    ("SELECT x", "ERR value is not an integer or out of range"),
    ("SELECT -1", "ERR value is not an integer or out of range"),
    ("AUTH secret", "ERR AUTH <password> called without any password configured"),
    ("AUTH someone secret", "WRONGPASS invalid username-password pair or user is disabled."),
    ("AUTH a b c", "ERR syntax error"),
    ("HELLO 4", "NOPROTO unsupported protocol version"),
    ("HELLO 1", "NOPROTO unsupported protocol version"),
    ("HELLO three", "ERR Protocol version is not an integer or out of range"),
    ("HELLO 3 AUTH x", "ERR Syntax error in HELLO option 'AUTH'"),
    ("HELLO 3 AUTH someone x", "WRONGPASS invalid username-password pair or user is disabled."),
    ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
    ("HELLO 3 NONSENSE", "ERR Syntax error in HELLO option 'NONSENSE'"),
    ("CLIENT NONSENSE", "ERR unknown subcommand 'NONSENSE'. Try CLIENT HELP."),
    ("CLIENT HELP me", "ERR wrong number of arguments for 'client|help' command"),
    ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
    ("CLIENT NO-EVICT maybe", "ERR syntax error"),
    ("CLIENT NO-TOUCH maybe", "ERR syntax error"),
    ("COMMAND COUNT all", "ERR wrong number of arguments for 'command|count' command"),
    ("COMMAND LIST PING", "ERR syntax error"),
    ("COMMAND LIST FILTERBY", "ERR syntax error"),
    ("COMMAND LIST FILTERBY PATTERN", "ERR syntax error"),
    ("COMMAND LIST FILTERBY NONSENSE x", "ERR syntax error"),
    ("COMMAND LIST FILTERBY PATTERN a b", "ERR syntax error"),
    ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
    ("CLIENT GETNAME x", "ERR wrong number of arguments for 'client|getname' command"),
    ("CLIENT SETINFO LIB-NAME", "ERR wrong number of arguments for 'client|setinfo' command"),
    ("CLIENT SETINFO COLOUR red", "ERR Unrecognized option 'COLOUR'"),
    ("CONFIG GET", "ERR wrong number of arguments for 'config|get' command"),
    ("CONFIG SET save x", "ERR unknown subcommand 'SET'. Try CONFIG HELP."),
    ("COMMAND NONSENSE", "ERR unknown subcommand 'NONSENSE'. Try COMMAND HELP."),
    ("EXEC", "ERR EXEC without MULTI"),
    ("DISCARD", "ERR DISCARD without MULTI"),
    ("FIB.FIRST -1", "ERR n is '-1': give a whole number from 0 on, in digits only"),
    ("FIB.FIRST +1", "ERR n is '+1': give a whole number from 0 on, in digits only"),
    ("FIB.FIRST 1.5", "ERR n is '1.5': give a whole number from 0 on, in digits only"),
    ("FIB.FIRST 1_0", "ERR n is '1_0': give a whole number from 0 on, in digits only"),
    ("FIB.FIRST ١", r"ERR n is '\xd9\xa1': give a whole number from 0 on, in digits only"),
    ("FIB.NUMBER x", "ERR n is 'x': give a whole number from 0 on, in digits only"),
    ("FIB.NUMBER 100 FROM -1", "ERR FROM is '-1': give a whole number from 0 on, in digits only"),
    (
        "FIB.NUMBER 100 COUNT",
        "ERR syntax error: expected FORMAT f, FROM a or COUNT c, not 'COUNT'",
    ),
    (
        "FIB.NUMBER 100 COUNT 5 FORMAT json",
        "ERR FROM and COUNT select decimal digits, and json has other bytes: use FORMAT text",
    ),
    ("FIB.NUMBER 99999999 COUNT 5", "LIMIT F(99999999) is too large: max_index is"),
    ("FIB.RANGE x 1", "ERR start is 'x': give a whole number from 0 on, in digits only"),
    ("FIB.RANGE 1 x", "ERR stop is 'x': give a whole number from 0 on, in digits only"),
    ("FIB.RANGE 8 7", "ERR start 8 is greater than stop 7: give the smaller index first"),
    ("FIB.SIZE 8 7", "ERR start 8 is greater than stop 7: give the smaller index first"),
    ("FIB.FIRST 5 json", "ERR syntax error: expected FORMAT and a format's name, not 'json'"),
    ("FIB.FIRST 5 FORMAT", "ERR syntax error: expected FORMAT and a format's name, not 'FORMAT'"),
    ("FIB.FIRST 5 FORMAT json x", "ERR syntax error: expected FORMAT and a format's name"),
    (
        "FIB.RANGE 0 5 FORMAT json FORMAT text",
        "ERR syntax error: 'FORMAT' is given twice: give it once",
    ),
    ("FIB.NUMBER 9 FORMAT text format text", "ERR syntax error: 'format' is given twice"),
    ("FIB.DIGITS 5 COUNT 1 FIRST 1 COUNT 2", "ERR syntax error: 'COUNT' is given twice"),
    ("FIB.RANGE 5 6 7", "ERR syntax error: expected FORMAT and a format's name, not '7'"),
    ("FIB.DIGITS -1", "ERR n is '-1': give a whole number from 0 on, in digits only"),
    ("FIB.DIGITS 5 FIRST", "ERR syntax error: expected FIRST k, LAST k or COUNT c, not 'FIRST'"),
    (
        "FIB.DIGITS 5 MIDDLE 5",
        "ERR syntax error: expected FIRST k, LAST k or COUNT c, not 'MIDDLE' '5'",
    ),
    ("FIB.DIGITS 5 FIRST x", "ERR FIRST is 'x': give a whole number from 0 on, in digits only"),
    ("FIB.DIGITS 5 COUNT x", "ERR COUNT is 'x': give a whole number from 0 on, in digits only"),
    (
        "FIB.DIGITS 5 COUNT 1001",
        "LIMIT COUNT must be between 0 and 1000 for 20 first and 20 last digits of each, not 1001",
    ),
    (
        "FIB.DIGITS 10000000 FIRST 45 LAST 45 COUNT 619",
        "LIMIT COUNT must be between 0 and 618 for 45 first and 45 last digits of each, not 619",
    ),
    (
        f"FIB.DIGITS {10**1000 - 1} COUNT 2",
        "LIMIT the last index must be at least 0 and below 10^1000, not 100000000",
    ),
    ("FIB.DIGITS 5 FIRST 1001", "LIMIT FIRST must be between 0 and 1000, not 1001"),
    (f"FIB.DIGITS 5 LAST {10**999}", "LIMIT LAST must be between 0 and 1000, not 1000000000"),
    (
        f"FIB.DIGITS {10**1000}",
        "LIMIT n must be at least 0 and below 10^1000, not 10000000000000000000... of 1001 digits",
    ),
    ("FIB.MOD 5 x", "ERR m is 'x': give a whole number from 0 on, in digits only"),
    ("FIB.MOD 5 0", "ERR m must be at least 1 and below 10^1000, not 0"),
    (f"FIB.MOD 5 {10**1000}", "LIMIT m must be at least 1 and below 10^1000, not 1000000"),
    (f"FIB.MOD {10**1000} 5", "LIMIT n must be at least 0 and below 10^1000, not 1000000"),
    ("FIB.INDEX x", "ERR the number is 'x': give a whole number from 0 on, in digits only"),
    (f"FIB.INDEX {10**4000}", "LIMIT the number must be at least 0 and have at most 4000 digits"),
    ("FIB.INDEX DIGITS x", "ERR the number of digits is 'x': give a whole number from 0 on"),
    ("FIB.INDEX DIGITS 0", "ERR the number of digits must be at least 1"),
    (f"FIB.INDEX DIGITS {10**1000}", "LIMIT the number of digits must be at least 1 and at most"),
    ("FIB.INDEX 5 6", "ERR syntax error: expected a number, or DIGITS and a number, not '5' '6'"),
    ("FIB.INDEX DIGITS 5 6", "ERR syntax error: expected a number, or DIGITS and a number, not"),
    (
        "FIB.NUMBER 5 FORMAT xml",
        "ERR unknown format 'xml': it must be one of array, json, text, csv, ndjson, bfile",
    ),
]

TOO_FEW_OR_MANY = [
    (entry.name, count)
    for entry in COMMANDS.values()
    for count in range(1, 9)
    if (count < -entry.arity if entry.arity < 0 else count != entry.arity)
]


@pytest.mark.parametrize(("line", "reply"), REPLIES)
def test_replies_of_new_connection(run: CommandRunner, line: str, reply: bytes) -> None:
    """Each command returns these bytes on a new connection."""
    assert run(line) == reply


@pytest.mark.parametrize(("line", "message"), INVALID_REQUESTS)
def test_invalid_request_gets_error(run: CommandRunner, line: str, message: str) -> None:
    """Each invalid request gets this error, and the connection stays usable."""
    assert run.error(line).startswith(message)
    assert run("PING") == PONG


@pytest.mark.parametrize(("name", "count"), TOO_FEW_OR_MANY)
def test_wrong_number_of_arguments_names_command(
    run: CommandRunner, name: str, count: int
) -> None:
    """The error for a wrong number of arguments names the command."""
    error = run.error(" ".join([name, *["0"] * (count - 1)]))
    assert error == f"ERR wrong number of arguments for '{name.lower()}' command"


def test_long_unknown_command_is_cut(run: CommandRunner) -> None:
    """An error quotes at most 128 bytes of a name or argument, on one line."""
    cut = "x" * 128
    assert run.error([b"x" * 4000, b"x" * 200]) == (
        f"ERR unknown command '{cut}', with args beginning with: '{cut}'"
    )
    assert run.error([b"a\r\n+OK\r\n"]).startswith("ERR unknown command 'a  +OK  ', ")
    assert cut + "x" not in run.error([b"FIB.FIRST", b"x" * 4000])
    assert cut + "x" not in run.error([b"FIB.FIRST", b"1", b"FORMAT", b"x" * 4000])
    assert cut + "x" not in run.error([b"CLIENT", b"x" * 4000])


def test_any_bytes_for_a_command(run: CommandRunner) -> None:
    """Empty and binary names are unknown commands."""
    assert run.error([b""]).startswith("ERR unknown command ''")
    assert run.error([b"\xff\0"]).startswith(r"ERR unknown command '\xff '")


# FIB.* and its limits.


@pytest.mark.parametrize("name", FORMATS)
def test_first_in_every_format(run: CommandRunner, name: str) -> None:
    """In every format FIB.FIRST returns as many bytes as FIB.SIZE reports."""
    reply = run(f"FIB.FIRST 300 FORMAT {name}")
    size = int(run(f"FIB.SIZE 0 300 FORMAT {name}")[1:-2])
    header = b"*300\r\n" if name == "array" else b"$%d\r\n" % size
    assert reply.startswith(header)
    assert len(reply) == len(header) + size + (0 if name == "array" else 2)


@pytest.mark.parametrize("name", FORMATS)
def test_largest_reply(name: str) -> None:
    """A reply of exactly `max_answer_bytes` is allowed; one more byte is rejected."""
    size = FORMATS[name].slice_size(10, 40)
    request = f"FIB.RANGE 10 40 FORMAT {name}"
    assert CommandRunner(max_answer_bytes=size)(request)
    assert CommandRunner(max_answer_bytes=size - 1).error(request) == (
        f"LIMIT the numbers have {exact_size_text(size)}, but max_answer_bytes is "
        f"{exact_size_text(size - 1)}; "
        f"request at most 29 from F(10) on as {name}"
    )


def test_error_for_huge_reply_has_size_and_limit() -> None:
    """The error for a huge reply contains its size, the limit, and what is allowed."""
    run = CommandRunner(max_answer_bytes=2**31)
    size = FORMATS["array"].slice_size(0, 10_000_000)
    assert run.error("FIB.FIRST 10000000") == (
        f"LIMIT the numbers have {exact_size_text(size)}, but max_answer_bytes is 2.1 GB "
        f"({2**31} bytes); request at most the first 143310 as array"
    )


def test_size_of_too_large_reply(run: CommandRunner) -> None:
    """FIB.SIZE reports sizes beyond `max_answer_bytes`."""
    assert run("FIB.SIZE 0 10000000 FORMAT text") == b":%d\r\n" % FORMATS["text"].offset(10**7)


def test_largest_index() -> None:
    """Every command accepts F(max_index) and rejects the next number."""
    run = CommandRunner(max_index=100)
    for line in ("FIB.FIRST 101", "FIB.RANGE 99 101", "FIB.NUMBER 100", "FIB.SIZE 0 101"):
        assert run(line)
    run.server.sized.clear()
    for line, allowed in (
        ("FIB.FIRST 102", "; request at most the first 101 as array"),
        (
            "FIB.RANGE 99 102 FORMAT csv",
            "; request at most 2 from F(99) on as csv",
        ),
        ("FIB.NUMBER 101", ""),
        ("FIB.SIZE 0 102", "; request at most the first 101 as array"),
    ):
        problem = "LIMIT F(101) is too large: max_index is 100"
        assert run.error(line) == problem + allowed
    assert run.server.sized == []


@pytest.mark.parametrize("command", ["FIB.FIRST", "FIB.NUMBER", "FIB.RANGE 0", "FIB.SIZE 0"])
def test_number_of_many_digits(run: CommandRunner, command: str) -> None:
    """The error for a very long index quotes it shortened."""
    error = run.error(f"{command} {'9' * 4000}")
    assert error.startswith("LIMIT F(99999999999999999999... of 4000")
    assert len(error) < 200
    assert len(run.error(f"FIB.RANGE {'9' * 2000} {'8' * 2000}")) < 200


def test_only_fib_commands_are_immutable() -> None:
    """Replies to FIB.* can be cached, but for maps, which RESP2 and RESP3 encode differently."""
    maps = {b"FIB.DIGITS", b"FIB.INDEX", b"FIB.LIMITS"}
    assert {name for name, entry in COMMANDS.items() if entry.is_immutable} == {
        name for name in COMMANDS if name.startswith(b"FIB.") and name not in maps
    }


# Digits, remainders and indices.


def test_maps(run: CommandRunner) -> None:
    """With RESP3, replies of several fields are maps."""
    run("HELLO 3")
    assert run("FIB.DIGITS 7") == b"%3\r\n" + digits("2", "13", "13")
    assert run("FIB.DIGITS 7 COUNT 1") == b"*1\r\n%3\r\n" + digits("2", "13", "13")
    below_zero = position([0], None, 1, []).replace(b"$-1\r\n", b"_\r\n")
    assert run("FIB.INDEX 0") == b"%4\r\n" + below_zero
    assert run("FIB.LIMITS").startswith(b"%3\r\n" + bulk("max_index"))


def test_long_sums_are_computed_in_steps(run: CommandRunner) -> None:
    """The thousands of indices of a long number's sum do not stop the loop at once."""
    value = "9" * 4000
    _, _, replies = execute(run.session, [b"FIB.INDEX", value.encode()])
    pieces = list(replies)
    assert pieces[:20] == [b""] * 20
    assert max(map(len, map(sent, pieces))) < 5000
    indices = list(zeckendorf(int(value)))
    assert b"".join(map(sent, pieces)) == b"*8\r\n" + position([], 19_141, 19_142, indices)


@pytest.mark.parametrize("max_answer_bytes", [0, 1000, 2**31])
def test_limits(max_answer_bytes: int) -> None:
    """FIB.LIMITS returns the largest N that FIB.FIRST accepts in each format."""
    run = CommandRunner(max_answer_bytes=max_answer_bytes, max_index=10_000)
    counts = {name: format.max_count(10_000, max_answer_bytes) for name, format in FORMATS.items()}
    assert run("FIB.LIMITS") == encode(
        {"max_index": 10_000, "max_answer_bytes": max_answer_bytes, "largest_n": counts}
    )
    for name, count in counts.items():
        execute(run.session, f"FIB.FIRST {count} FORMAT {name}".encode().split())
        assert run.error(f"FIB.FIRST {count + 1} FORMAT {name}").startswith("LIMIT ")


# The connection.


def test_hello_switches_the_protocol(run: CommandRunner) -> None:
    """HELLO 3 and HELLO 2 switch the encoding of maps and nulls; plain HELLO does not."""
    assert run("HELLO 3") == run("HELLO") == HELLO_3
    assert run("CLIENT GETNAME") == b"_\r\n"
    assert run("CONFIG GET save") == b"%1\r\n" + bulk("save") + bulk("")
    assert run("HELLO 2") == HELLO_2
    assert run("CLIENT GETNAME") == b"$-1\r\n"


@pytest.mark.parametrize(
    "line",
    ["HELLO 4", "HELLO 3 AUTH someone x", "HELLO 3 SETNAME me AUTH x", "HELLO 3 SETNAME me X"],
)
def test_rejected_hello_changes_nothing(run: CommandRunner, line: str) -> None:
    """A rejected HELLO changes neither protocol nor name."""
    run.error(line)
    assert run("HELLO") == HELLO_2
    assert run("CLIENT GETNAME") == b"$-1\r\n"


def test_client_name(run: CommandRunner) -> None:
    """CLIENT SETNAME and HELLO set the name; an empty name removes it."""
    run("CLIENT SETNAME me")
    assert run("CLIENT GETNAME") == bulk("me")
    run("HELLO 2 SETNAME myself")
    assert run("CLIENT GETNAME") == bulk("myself")
    run([b"CLIENT", b"SETNAME", b""])
    assert run("CLIENT GETNAME") == b"$-1\r\n"


@pytest.mark.parametrize("word", [b"two words", b"line\nbreak", b"\xff", b"\x7f", b"\0"])
def test_names_are_single_words(run: CommandRunner, word: bytes) -> None:
    """Names that would break the lines of CLIENT INFO are rejected."""
    for words in ([b"SETNAME"], [b"SETINFO", b"LIB-NAME"], [b"SETINFO", b"LIB-VER"]):
        assert "cannot contain spaces, newlines" in run.error([b"CLIENT", *words, word])
    assert "cannot contain spaces" in run.error([b"HELLO", b"2", b"SETNAME", word])


@pytest.mark.parametrize("size", [128, 129])
def test_names_are_short(run: CommandRunner, size: int) -> None:
    """Names are limited to 128 bytes."""
    name = b"x" * size
    for words in ([b"SETNAME"], [b"SETINFO", b"LIB-NAME"], [b"SETINFO", b"LIB-VER"]):
        if size <= 128:
            assert run([b"CLIENT", *words, name]) == OK
        else:
            error = run.error([b"CLIENT", *words, name])
            assert error.endswith(" cannot be longer than 128 bytes.")
    if size > 128:
        assert "longer than 128" in run.error([b"HELLO", b"2", b"SETNAME", name])
        assert run("CLIENT GETNAME") == b"$-1\r\n"


def test_client_info_is_one_line(run: CommandRunner) -> None:
    """CLIENT INFO is one line with the client's name and library."""
    for line in ("SETNAME me", "SETINFO LIB-NAME lib", "SETINFO LIB-VER 1.2"):
        run(f"CLIENT {line}")
    reply = run("CLIENT INFO").decode()
    assert re.fullmatch(r"\$\d+\r\n[^\n]+\n\r\n", reply)
    fields = set(reply.split())
    assert fields >= {"id=7", "addr=127.0.0.1:50000", "name=me", "resp=2"}
    assert fields >= {"lib-name=lib", "lib-ver=1.2"}


# Client-side caches.


@pytest.mark.parametrize(
    ("options", "flags", "prefixes"),
    [
        ("", ["on"], []),
        ("NOLOOP", ["on", "noloop"], []),
        ("optin", ["on", "optin"], []),
        ("OPTOUT NOLOOP", ["on", "optout", "noloop"], []),
        ("BCAST PREFIX a prefix b", ["on", "bcast"], ["a", "b"]),
    ],
)
def test_tracking_is_reported_until_off_or_reset(
    run: CommandRunner, options: str, flags: list[str], prefixes: list[str]
) -> None:
    """CLIENT TRACKING is reported until OFF or RESET."""
    off = run("CLIENT TRACKINGINFO")
    assert off == (
        b"*6\r\n" + bulk("flags") + bulks("off") + bulk("redirect") + b":-1\r\n"
        + bulk("prefixes") + b"*0\r\n"
    )  # fmt: skip
    for end in ("CLIENT TRACKING off", "RESET"):
        assert run(f"CLIENT TRACKING on {options}") == OK
        assert run("CLIENT TRACKINGINFO") == (
            b"*6\r\n" + bulk("flags") + bulks(*flags) + bulk("redirect") + b":0\r\n"
            + bulk("prefixes") + bulks(*prefixes)
        )  # fmt: skip
        assert b" flags=tB " in run("CLIENT INFO") or "bcast" not in flags
        assert b" redir=0 " in run("CLIENT INFO")
        assert run(end) in (OK, b"+RESET\r\n")
        assert run("CLIENT TRACKINGINFO") == off
        assert b" flags=N " in run("CLIENT INFO")


def test_tracking_redirected(runners: list[CommandRunner]) -> None:
    """Notifications can be redirected to an existing client."""
    asking = runners[0]
    assert asking("CLIENT GETREDIR") == b":-1\r\n"
    assert asking("CLIENT TRACKING ON REDIRECT 9") == OK
    assert asking("CLIENT GETREDIR") == b":9\r\n"
    assert b" redir=9 " in asking("CLIENT INFO")


def test_caching_of_the_next_request(run: CommandRunner) -> None:
    """CLIENT CACHING YES needs OPTIN mode, and NO needs OPTOUT mode."""
    for mode, right, wrong in (("OPTIN", "yes", "no"), ("OPTOUT", "no", "yes")):
        run(f"CLIENT TRACKING on {mode}")
        assert run(f"CLIENT CACHING {right}") == OK
        assert "is only valid when tracking" in run.error(f"CLIENT CACHING {wrong}")
        assert run.error("CLIENT CACHING maybe") == "ERR syntax error"
        run("CLIENT TRACKING off")
    assert run.error("CLIENT CACHING yes").startswith("ERR CLIENT CACHING can be called only")


@pytest.mark.parametrize(
    ("current", "line", "message"),
    [
        ("OFF", "", "ERR wrong number of arguments for 'client|tracking' command"),
        ("OFF", "maybe", "ERR syntax error"),
        ("OFF", "ON NONSENSE", "ERR syntax error"),
        ("OFF", "ON REDIRECT", "ERR syntax error"),
        ("OFF", "ON REDIRECT x", "ERR value is not an integer or out of range"),
        ("OFF", "ON REDIRECT 4711", "ERR The client ID you want redirect to does not exist"),
        (
            "OFF",
            "ON REDIRECT 7 REDIRECT 7",
            "ERR A client can only redirect to a single other client",
        ),
        ("OFF", "ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("OFF", "ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("OFF", "ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("ON BCAST", "ON", "ERR You can't switch BCAST mode on/off before disabling"),
        ("ON OPTIN", "ON OPTOUT", "ERR You can't switch OPTIN/OPTOUT mode before disabling"),
    ],
)
def test_rejected_tracking_changes_nothing(
    run: CommandRunner, current: str, line: str, message: str
) -> None:
    """Options that Redis rejects get its error messages, and change nothing."""
    run(f"CLIENT TRACKING {current}")
    before = run("CLIENT TRACKINGINFO")
    assert run.error(f"CLIENT TRACKING {line}").startswith(message)
    assert run("CLIENT TRACKINGINFO") == before


def test_quit_closes_connection(run: CommandRunner) -> None:
    """QUIT closes the connection; PING does not."""
    run("PING")
    assert not run.session.is_quitting
    run("QUIT")
    assert run.session.is_quitting


def test_reset_resets_session(run: CommandRunner) -> None:
    """RESET resets protocol, name and transaction."""
    for line in ("HELLO 3 SETNAME me", "MULTI", "PING"):
        run(line)
    assert run("RESET") == b"+RESET\r\n"
    assert run("HELLO") == HELLO_2
    assert run("CLIENT GETNAME") == b"$-1\r\n"
    assert run.error("EXEC") == "ERR EXEC without MULTI"


# The password.

PASSWORD = b"s3cret \xff"
WITHOUT_PASSWORD = {b"AUTH", b"HELLO", b"QUIT", b"RESET"}
HEALTH_CHECK = {b"PING"}  # checks authentication itself, after the health of the server


@pytest.fixture
def unauthenticated() -> CommandRunner:
    """Return an unauthenticated client of a server with a password."""
    return CommandRunner(CommandServer(ServerSettings(), PASSWORD))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_PASSWORD))
def test_commands_without_password_are_rejected(
    unauthenticated: CommandRunner, name: bytes
) -> None:
    """Without authentication every command is rejected, whatever its arguments."""
    for count in range(5):
        assert unauthenticated.error([name, *[b"0"] * count]) == "NOAUTH Authentication required."
    assert unauthenticated.server.sized == []
    assert not unauthenticated.session.is_in_transaction


def test_commands_without_authentication(unauthenticated: CommandRunner) -> None:
    """AUTH, HELLO, RESET and QUIT need no authentication; unknown commands stay unknown."""
    assert {
        name for name, entry in COMMANDS.items() if not entry.needs_authentication
    } == WITHOUT_PASSWORD | HEALTH_CHECK
    assert unauthenticated.error("NOSUCH").startswith("ERR unknown command 'NOSUCH'")
    assert unauthenticated("RESET") == b"+RESET\r\n"
    assert unauthenticated("QUIT") == OK


@pytest.mark.parametrize("user", [[], [b"default"]])
def test_auth_accepts_password(unauthenticated: CommandRunner, user: list[bytes]) -> None:
    """AUTH accepts the password alone or with the user `default`."""
    assert not unauthenticated.session.is_authenticated
    assert unauthenticated([b"AUTH", *user, PASSWORD]) == OK
    assert unauthenticated("PING") == PONG
    assert unauthenticated.session.is_authenticated


WRONG_CREDENTIALS = [
    [b"wrong"],
    [b""],
    [PASSWORD + b"x"],
    [PASSWORD[:-1]],
    [b"default", b"wrong"],
    [b"default", b""],
    [b"someone", PASSWORD],
    [b"DEFAULT", PASSWORD],
    [PASSWORD, b"default"],
]
WRONG = "WRONGPASS invalid username-password pair or user is disabled."


@pytest.mark.parametrize("credentials", WRONG_CREDENTIALS)
def test_wrong_password(unauthenticated: CommandRunner, credentials: list[bytes]) -> None:
    """Wrong credentials change nothing, before and after a successful AUTH."""
    assert unauthenticated.error([b"AUTH", *credentials]) == WRONG
    assert unauthenticated.error("PING").startswith("NOAUTH")
    unauthenticated([b"AUTH", PASSWORD])
    assert unauthenticated.error([b"AUTH", *credentials]) == WRONG
    assert unauthenticated("PING") == PONG


UNAVAILABLE = [("BUSY", "no worker has responded lately"), ("SHUTDOWN", "the server is stopping")]


@pytest.mark.parametrize("unavailable_reason", UNAVAILABLE)
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_ping_of_unhealthy_server(
    unavailable_reason: tuple[str, str], password: bytes | None
) -> None:
    """PING returns the reason and closes the connection; other commands still work."""
    run = CommandRunner(CommandServer(ServerSettings(), password))
    run.server.unavailable_reason = unavailable_reason
    for line in ("PING", "PING hello"):
        run.session.is_quitting = False
        assert run.error(line) == " ".join(unavailable_reason)
        assert run.session.is_quitting
    run.session.is_quitting = False
    if password:
        run([b"AUTH", password])
    assert run("ECHO x") == bulk("x")
    run.server.unavailable_reason = None
    assert run("PING") == PONG
    assert not run.session.is_quitting


def test_hello_without_the_password(unauthenticated: CommandRunner) -> None:
    """Unauthenticated HELLO is rejected and changes nothing."""
    for line in ("HELLO", "HELLO 3", "HELLO 3 SETNAME me"):
        assert unauthenticated.error(line).startswith(
            "NOAUTH HELLO must be called with the client"
        )
    assert (unauthenticated.session.protocol, unauthenticated.session.name) == (2, "")


def test_hello_with_the_password(unauthenticated: CommandRunner) -> None:
    """HELLO accepts AUTH at any position among its options."""
    assert unauthenticated([b"HELLO", b"3", b"AUTH", b"default", PASSWORD]) == HELLO_3
    assert unauthenticated("PING") == PONG
    other = CommandRunner(unauthenticated.server, 8)
    other([b"HELLO", b"2", b"SETNAME", b"me", b"AUTH", b"default", PASSWORD])
    assert other("CLIENT GETNAME") == bulk("me")


def test_hello_with_a_wrong_password(unauthenticated: CommandRunner) -> None:
    """HELLO with wrong credentials changes nothing."""
    for credentials in (pair for pair in WRONG_CREDENTIALS if len(pair) == 2):
        assert unauthenticated.error([b"HELLO", b"3", b"AUTH", *credentials]) == WRONG
    assert unauthenticated.session.protocol == 2
    assert unauthenticated.error("PING").startswith("NOAUTH")


def test_reset_forgets_the_password(unauthenticated: CommandRunner) -> None:
    """RESET ends the authentication if a password is set."""
    unauthenticated([b"AUTH", PASSWORD])
    unauthenticated("RESET")
    assert unauthenticated.error("PING").startswith("NOAUTH")
    run = CommandRunner()
    run("RESET")
    assert run("PING") == PONG


def test_a_password_that_comes_later(run: CommandRunner) -> None:
    """A connected client stays authenticated when a password is configured later."""
    run.server.password = PASSWORD
    assert run("PING") == PONG
    assert CommandRunner(run.server, 8).error("PING").startswith("NOAUTH")


# The clients.


@pytest.fixture
def runners() -> list[CommandRunner]:
    """Return three clients of one server, with IDs 7, 8 and 9."""
    server = CommandServer(ServerSettings())
    return [
        CommandRunner(server, 7 + number, address)
        for number, address in enumerate(["127.0.0.1:50000", "127.0.0.1:50001", "unix:0"])
    ]


def listed(run: CommandRunner, options: str = "") -> list[int]:
    """Return the IDs in a CLIENT LIST reply."""
    return [int(number) for number in re.findall(rb"id=(\d+) ", run(f"CLIENT LIST {options}"))]


def test_client_line(run: CommandRunner) -> None:
    """CLIENT INFO and CLIENT LIST return Redis's line with all fields."""
    line = (
        "id=7 addr=127.0.0.1:50000 laddr=127.0.0.1:7 fd=17 name= age=100 idle=20 flags=N db=0 "
        "sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=3 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 "
        "rbp=0 obl=0 oll=4 omem=500 tot-mem=4599 events=rw cmd=client|{} user=default "
        "redir=-1 resp=2 lib-name= lib-ver=\n"
    )
    assert run("CLIENT INFO") == bulk(line.format("info"))
    assert run("CLIENT LIST") == bulk(line.format("list"))


REDIS_7_FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem "
    "multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp"
)


def test_client_line_has_the_fields_of_redis_7(run: CommandRunner) -> None:
    """The line has all fields of Redis 7.0 in order, which some clients require."""
    fields = re.findall(r"([a-z-]+)=\S*", run("CLIENT INFO").decode())
    expected = REDIS_7_FIELDS.split()
    assert [field for field in fields if field in expected] == expected


def test_client_flags(runners: list[CommandRunner]) -> None:
    """The flags show transactions, waiting, closing and Unix sockets."""
    asking, waiting, local = runners
    assert b" flags=N " in asking("CLIENT INFO")
    waiting.server.waiting.add(8)
    assert b" flags=b " in asking("CLIENT LIST ID 8")
    local("MULTI")
    local.session.is_quitting = True
    assert b" flags=xcU " in asking("CLIENT LIST ID 9")


def test_client_memory(run: CommandRunner) -> None:
    """The memory of a client includes its transaction."""
    empty = int(re.findall(rb"tot-mem=(\d+)", run("CLIENT INFO"))[0])
    run.session.transaction_bytes = 1000
    line = run("CLIENT INFO")
    assert b" multi-mem=1000 " in line
    assert b" tot-mem=%d " % (empty + 1000) in line


def test_client_line_within_a_transaction(runners: list[CommandRunner]) -> None:
    """The line of a client shows the number of its queued requests."""
    asking, busy, _ = runners
    for words in ("MULTI", "PING", "ECHO x"):
        busy(words)
    assert b" db=0 sub=0 psub=0 ssub=0 multi=2 " in asking("CLIENT LIST ID 8")
    assert b"cmd=echo " in asking("CLIENT LIST ID 8")


def test_client_list(runners: list[CommandRunner]) -> None:
    """CLIENT LIST has a line per client in connection order; CLIENT INFO has the caller's."""
    asking = runners[1]
    assert listed(asking) == [7, 8, 9]
    assert asking("CLIENT LIST").count(b"\n") == 3 + 2
    assert b"id=8 " in asking("CLIENT INFO")


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ("ID 9", [9]),
        ("id 9", [9]),
        ("ID 9 4711 7 9", [9, 7]),
        ("ID 9 7 ID 8", [9, 7, 8]),
        ("ID 9 7 ADDR unix:0", [9]),
        ("ID 4711", []),
        ("ADDR 127.0.0.1:50001", [8]),
        ("ADDR unix:0", [9]),
        ("ADDR 127.0.0.1", []),
        ("LADDR 127.0.0.1:9", [9]),
        ("USER default", [7, 8, 9]),
        ("MAXAGE 0", [7, 8, 9]),
        ("MAXAGE 1000000", []),
        ("TYPE normal", [7, 8, 9]),
        ("TYPE NORMAL", [7, 8, 9]),
        ("TYPE pubsub", []),
        ("TYPE master", []),
        ("SKIPME yes", [8, 9]),
        ("SKIPME NO", [7, 8, 9]),
        ("ID 9 ADDR unix:0", [9]),
        ("ID 9 ADDR 127.0.0.1:50000", []),
        ("SKIPME yes ID 7", []),
    ],
)
def test_client_list_options(
    runners: list[CommandRunner], options: str, numbers: list[int]
) -> None:
    """CLIENT LIST returns the clients that match all options."""
    assert listed(runners[0], options) == numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ID", "ERR syntax error"),
        ("NONSENSE 1", "ERR syntax error"),
        ("ID 1 x", "ERR syntax error"),
        ("ID x", "ERR client-id should be greater than 0"),
        ("ID -1", "ERR client-id should be greater than 0"),
        ("USER someone", "ERR No such user 'someone'"),
        ("MAXAGE soon", "ERR maxage is not an integer or out of range"),
        ("TYPE nonsense", "ERR Unknown client type 'nonsense'"),
        ("SKIPME maybe", "ERR syntax error"),
    ],
)
def test_wrong_client_options(runners: list[CommandRunner], options: str, message: str) -> None:
    """CLIENT LIST and CLIENT KILL reject invalid options with the same errors."""
    assert runners[0].error(f"CLIENT LIST {options}") == message
    if len(options.split()) > 1:  # one argument is the old form of CLIENT KILL
        assert runners[0].error(f"CLIENT KILL {options}") == message
    assert runners[0].server.closed == []


@pytest.mark.parametrize("subcommand", ["LIST", "KILL"])
def test_ids_are_looked_up(runners: list[CommandRunner], subcommand: str) -> None:
    """The ID option looks clients up without iterating over all."""
    runners[0](f"CLIENT {subcommand} ID 8 9")
    assert runners[0].server.scans == 0
    assert isinstance(execute(runners[0].session, [b"CLIENT", b"LIST", b"ID", b"7"])[2], list)
    runners[0](f"CLIENT {subcommand} TYPE normal")
    assert runners[0].server.scans == 1


@pytest.mark.parametrize(
    ("options", "closed"),
    [
        ("ID 8", [8]),
        ("ID 9 8", [9, 8]),
        ("ID 4711", []),
        ("ID 7", []),
        ("ADDR unix:0", [9]),
        ("LADDR 127.0.0.1:8", [8]),
        ("TYPE normal", [8, 9]),
        ("USER default", [8, 9]),
        ("ID 8 ADDR unix:0", []),
        ("SKIPME yes", [8, 9]),
    ],
)
def test_client_kill(runners: list[CommandRunner], options: str, closed: list[int]) -> None:
    """CLIENT KILL closes and counts the clients that match all options, except the caller."""
    asking = runners[0]
    assert asking(f"CLIENT KILL {options}") == b":%d\r\n" % len(closed)
    assert asking.server.closed == closed
    assert not asking.session.is_quitting


@pytest.mark.parametrize(
    ("options", "closed"), [("ID 7 SKIPME no", []), ("SKIPME NO", [8, 9]), ("skipme no", [8, 9])]
)
def test_client_kill_can_include_caller(
    runners: list[CommandRunner], options: str, closed: list[int]
) -> None:
    """With SKIPME no the caller is closed too, after the reply."""
    asking = runners[0]
    assert asking(f"CLIENT KILL {options}") == b":%d\r\n" % (len(closed) + 1)
    assert asking.session.is_quitting
    assert asking.server.closed == closed


def test_old_client_kill(runners: list[CommandRunner]) -> None:
    """CLIENT KILL with an address closes that client, even the caller, or returns an error."""
    asking = runners[0]
    assert asking("CLIENT KILL 127.0.0.1:50001") == OK
    assert asking.server.closed == [8]
    assert asking.error("CLIENT KILL 127.0.0.1:50001") == "ERR No such client"
    assert not asking.session.is_quitting
    assert asking("CLIENT KILL 127.0.0.1:50000") == OK
    assert asking.session.is_quitting
    assert asking.server.closed == [8]


def test_client_kill_without_client_is_rejected(run: CommandRunner) -> None:
    """CLIENT KILL without arguments, and of the client 0, is rejected."""
    assert run.error("CLIENT KILL ID 0") == "ERR client-id should be greater than 0"
    assert run.error("CLIENT KILL") == ("ERR wrong number of arguments for 'client|kill' command")


# Transactions.


def test_exec_replies_in_order(run: CommandRunner) -> None:
    """Requests after MULTI are queued, and EXEC replies to all in order."""
    for line, reply in (("MULTI", OK), ("PING", QUEUED), ("FIB.FIRST 2", QUEUED)):
        assert run(line) == reply
    assert run.server.sized == [], "nothing is done before EXEC"
    assert run("EXEC") == b"*2\r\n" + PONG + bulks("0", "1")
    assert run("PING") == PONG


def test_empty_transaction(run: CommandRunner) -> None:
    """A transaction can be empty."""
    run("MULTI")
    assert run("EXEC") == b"*0\r\n"


def test_discard_command_clears_transaction(run: CommandRunner) -> None:
    """DISCARD clears the queue and its errors."""
    run("MULTI")
    run("PING")
    run.error("NOSUCH")
    assert run("DISCARD") == OK
    assert run("MULTI") == OK
    assert run("EXEC") == b"*0\r\n"


def test_multi_does_not_nest(run: CommandRunner) -> None:
    """MULTI within a transaction is rejected."""
    run("MULTI")
    assert run.error("MULTI") == "ERR MULTI calls can not be nested"


@pytest.mark.parametrize(
    "line", ["NOSUCH", "ECHO", "FIB.FIRST", "CLIENT NOSUCH", "CLIENT KILL", "CONFIG GET"]
)
def test_rejected_request_aborts_its_transaction(run: CommandRunner, line: str) -> None:
    """A rejected request makes EXEC fail, and ends the transaction."""
    run("MULTI")
    run("PING")
    run.error(line)
    assert run("PING") == QUEUED
    assert run.error("EXEC") == ("EXECABORT Transaction discarded because of previous errors.")
    assert run("PING") == PONG
    run("MULTI")
    assert run("EXEC") == b"*0\r\n"


def test_error_within_exec(run: CommandRunner) -> None:
    """A queued request that fails yields an error; the others still run."""
    for line in ("MULTI", "PING", "SELECT 1", "FIB.FIRST 10000000", "PING"):
        run(line)
    first, second, third, fourth, fifth, end = run("EXEC").split(b"\r\n")
    assert [first, second, fifth, end] == [b"*4", b"+PONG", b"+PONG", b""]
    assert third == b"-ERR DB index is out of range"
    assert fourth.startswith(b"-LIMIT the numbers have ")


def test_transaction_is_bounded(run: CommandRunner) -> None:
    """A transaction takes MAX_QUEUED requests; one more is rejected and aborts it."""
    run("MULTI")
    assert {run("PING") for _ in range(MAX_QUEUED)} == {QUEUED}
    assert run.error("PING") == (
        f"ERR transaction too large: at most {MAX_QUEUED} requests and 256 KiB"
    )
    assert run.session.transaction is not None
    assert len(run.session.transaction) == MAX_QUEUED
    assert run.error("EXEC").startswith("EXECABORT")
    assert run("PING") == PONG


def test_large_requests_fill_a_transaction_sooner(run: CommandRunner) -> None:
    """The bytes of a transaction are limited; a request over the limit aborts it."""
    run("MULTI")
    request = [b"ECHO", bytes(4000)]
    fitting = 256 * 1024 // 4100
    for _ in range(fitting):
        assert run(request) == QUEUED
    assert "and 256 KiB" in run.error(request)
    assert run.error("EXEC").startswith("EXECABORT ")


def test_replies_of_a_transaction_are_made_one_by_one(run: CommandRunner) -> None:
    """EXEC runs each request when its reply is consumed; an error replaces one reply."""
    run("MULTI")
    for line in ("FIB.FIRST 2", "FIB.FIRST 3", "SELECT 1", "FIB.FIRST 4"):
        run(line)
    _, _, replies = execute(run.session, [b"EXEC"])
    assert run.server.sized == []
    replies = iter(replies)
    assert next(replies) == b"*4\r\n"
    for stop in (2, 3):
        assert sent(next(replies)) == bulks(*"011"[:stop])
        assert run.server.sized[-1] == ("array", stop)
    assert next(replies) == b"-ERR DB index is out of range\r\n"
    assert len(run.server.sized) == 2
    assert sent(next(replies)) == bulks("0", "1", "1", "2")
    assert list(replies) == []


def test_full_transaction(run: CommandRunner) -> None:
    """EXEC replies to all requests of a full transaction."""
    run("MULTI")
    for _ in range(MAX_QUEUED):
        run("PING")
    assert run("EXEC") == b"*%d\r\n" % MAX_QUEUED + PONG * MAX_QUEUED


# Statistics.


def counts(run: CommandRunner, name: str) -> tuple[int, int]:
    """Return the numbers of rejected and failed calls."""
    statistics = run.server.statistics.command(name.lower())
    return statistics.rejected_calls, statistics.failed_calls


def test_success_counts_neither_rejected_nor_failed(run: CommandRunner) -> None:
    """A successful command counts neither as rejected nor as failed."""
    run("PING")
    run("FIB.FIRST 5")
    assert counts(run, "PING") == counts(run, "FIB.FIRST") == (0, 0)


def test_rejected_calls(run: CommandRunner, unauthenticated: CommandRunner) -> None:
    """Wrong arguments and missing authentication count as rejected."""
    run.error("ECHO")
    run.error("ECHO a b")
    assert counts(run, "ECHO") == (2, 0)
    unauthenticated.error("ECHO a")
    assert counts(unauthenticated, "ECHO") == (1, 0)


def test_unknown_commands_are_not_counted(run: CommandRunner) -> None:
    """Unknown commands have no statistics, which would be unbounded."""
    run.error("NOSUCH")
    assert run.server.statistics.commands == {}


def test_failed_calls(run: CommandRunner) -> None:
    """Errors while a command runs count as failed, whatever the case of its name."""
    run.error("SELECT 1")
    run.error("select x")
    assert counts(run, "SELECT") == (0, 2)


def test_rejected_within_a_transaction(run: CommandRunner) -> None:
    """A request that cannot be queued counts as rejected; a queued one counts when it runs."""
    run("MULTI")
    run.error("ECHO")
    run("SELECT 1")
    assert counts(run, "ECHO") == (1, 0)
    assert counts(run, "SELECT") == (0, 0)
    run.error("EXEC")
    assert counts(run, "EXEC") == (0, 1)


def test_too_many_queued_requests_are_rejected(run: CommandRunner) -> None:
    """A request over the transaction limit counts as rejected."""
    run("MULTI")
    for _ in range(MAX_QUEUED):
        run("PING")
    run.error("PING")
    assert counts(run, "PING") == (1, 0)


def test_errors_within_exec_are_counted(run: CommandRunner) -> None:
    """Errors within EXEC count by code and by command."""
    for line in ("MULTI", "SELECT 1", "FIB.FIRST 10000000", "SELECT x", "PING"):
        run(line)
    run("EXEC")
    assert run.server.statistics.errors == {"ERR": 2, "LIMIT": 1}
    assert counts(run, "SELECT") == (0, 2)
    assert counts(run, "FIB.FIRST") == (0, 1)
    assert counts(run, "EXEC") == counts(run, "PING") == (0, 0)
    calls = {name: statistics.calls for name, statistics in run.server.statistics.commands.items()}
    assert (calls["select"], calls["fib.first"], calls["ping"]) == (2, 1, 1)


def test_last_command(run: CommandRunner) -> None:
    """The session records the last known command, even if it fails."""
    assert run.session.last_command == "NULL"
    for line in ("PING", "fib.first 5"):
        run(line)
        assert run.session.last_command == line.split()[0].lower()
    run.error("SELECT 1")
    assert run.session.last_command == "select"
    run.error("NOSUCH")
    assert run.session.last_command == "select"
    run("config get x")
    assert run.session.last_command == "config|get"


@pytest.mark.parametrize(("seconds", "timeout"), [(0, "0"), (300, "300"), (0.5, "1"), (1.5, "2")])
def test_config_timeout_is_whole(seconds: float, timeout: str) -> None:
    """CONFIG GET timeout is in whole seconds, rounded up, because clients parse an integer."""
    assert CommandRunner(idle_timeout=seconds)("CONFIG GET timeout") == bulks("timeout", timeout)


# Slow log and latency.


def slow_entry(number: int) -> bytes:
    """Return an entry of the slow log as SLOWLOG GET encodes it."""
    words = bulks("FIB.FIRST", str(number))
    client = bulk("127.0.0.1:50000") + bulk("me")
    return b"*6\r\n:%d\r\n:1700000000\r\n:250000\r\n%b%b" % (number, words, client)


def make_slow(run: CommandRunner, count: int) -> None:
    """Add `count` entries to the slow log."""
    for number in range(count):
        words = [b"FIB.FIRST", b"%d" % number]
        run.server.slow_log.add(1_700_000_000.5, 0.25, words, "127.0.0.1:50000", "me")


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("SLOWLOG GET", 10),
        ("slowlog get", 10),
        ("SLOWLOG GET 3", 3),
        ("SLOWLOG GET 0", 0),
        ("SLOWLOG GET 12", 12),
        ("SLOWLOG GET 1000", 12),
        ("SLOWLOG GET -1", 12),
    ],
)
def test_slowlog_get(run: CommandRunner, line: str, count: int) -> None:
    """SLOWLOG GET returns the newest entries first, ten by default."""
    make_slow(run, 12)
    entries = [slow_entry(number) for number in range(11, 11 - count, -1)]
    assert run(line) == b"*%d\r\n%b" % (count, b"".join(entries))


def test_slowlog_len_and_reset(run: CommandRunner) -> None:
    """SLOWLOG LEN counts the entries, and SLOWLOG RESET removes them."""
    assert run("SLOWLOG LEN") == b":0\r\n"
    make_slow(run, MAX_ENTRIES + 1)
    assert run("SLOWLOG LEN") == b":%d\r\n" % MAX_ENTRIES
    assert run("SLOWLOG RESET") == OK
    assert run("SLOWLOG LEN") == b":0\r\n"
    assert run("SLOWLOG GET") == b"*0\r\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SLOWLOG GET -2", "ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET x", "ERR count should be greater than or equal to -1"),
        ("SLOWLOG NONSENSE", "ERR unknown subcommand 'NONSENSE'. Try SLOWLOG HELP."),
        ("SLOWLOG LEN 1", "ERR wrong number of arguments for 'slowlog|len' command"),
        ("LATENCY NONSENSE", "ERR unknown subcommand 'NONSENSE'. Try LATENCY HELP."),
        ("LATENCY HISTORY", "ERR wrong number of arguments for 'latency|history' command"),
        ("SLOWLOG GET 1 2", "ERR wrong number of arguments for 'slowlog|get' command"),
    ],
)
def test_invalid_slowlog_and_latency_arguments(
    run: CommandRunner, line: str, message: str
) -> None:
    """SLOWLOG and LATENCY reject invalid arguments."""
    make_slow(run, 1)
    assert run.error(line) == message
    assert run("SLOWLOG LEN") == b":1\r\n"


def test_latency_histogram(run: CommandRunner) -> None:
    """LATENCY HISTOGRAM returns cumulative counts per command and upper bound."""
    for seconds, calls in ((0.000003, 2), (0.0000005, 1), (0.001, 5), (1000.0, 1)):
        run.server.statistics.command("ping").record(seconds, calls=calls)
    run.server.statistics.command("echo").record(0.0000015)
    run.server.statistics.command("select").errors["ERR"] += 1  # without a call
    ping = [(1, 1), (4, 3), (1024, 8), (2**27, 9)]
    ping_bounds = b"".join(b":%d\r\n:%d\r\n" % pair for pair in ping)
    ping_2 = (
        bulk("ping") + b"*4\r\n" + bulk("calls") + b":9\r\n"
        + bulk("histogram_usec") + b"*8\r\n" + ping_bounds
    )  # fmt: skip
    echo_2 = (
        bulk("echo") + b"*4\r\n" + bulk("calls") + b":1\r\n"
        + bulk("histogram_usec") + b"*2\r\n:2\r\n:1\r\n"
    )  # fmt: skip
    assert run("LATENCY HISTOGRAM") == b"*4\r\n" + ping_2 + echo_2
    assert run("latency histogram Echo") == b"*2\r\n" + echo_2
    assert run("LATENCY HISTOGRAM echo nosuch ping") == b"*4\r\n" + ping_2 + echo_2
    assert run("LATENCY HISTOGRAM select") == b"*0\r\n"
    run("HELLO 3")
    reply = run("LATENCY HISTOGRAM echo")
    assert reply.startswith(b"%1\r\n" + bulk("echo") + b"%2\r\n" + bulk("calls"))
    assert reply.endswith(bulk("histogram_usec") + b"%1\r\n:2\r\n:1\r\n")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("LATENCY HISTOGRAM", b"*0\r\n"),
        ("LATENCY LATEST", b"*0\r\n"),
        ("LATENCY HISTORY command", b"*0\r\n"),
        ("LATENCY RESET", b":0\r\n"),
        ("LATENCY RESET command fork", b":0\r\n"),
    ],
)
def test_latency_has_no_events(run: CommandRunner, line: str, reply: bytes) -> None:
    """Subcommands about latency events return empty replies."""
    assert run(line) == reply


def test_latency_doctor(run: CommandRunner) -> None:
    """LATENCY DOCTOR names the other reports."""
    assert b"LATENCY HISTOGRAM and SLOWLOG GET" in run("LATENCY DOCTOR")


# The server.

PING_ENTRY = (
    b"*10\r\n" + bulk("ping") + b":-1\r\n*2\r\n+readonly\r\n+fast\r\n"
    b":0\r\n:0\r\n:0\r\n*3\r\n+@read\r\n+@fast\r\n+@connection\r\n" + b"*0\r\n" * 3
)


def test_command_info(run: CommandRunner) -> None:
    """COMMAND INFO describes the given commands, with null for unknown ones."""
    assert run("COMMAND INFO ping") == b"*1\r\n" + PING_ENTRY
    assert run("COMMAND INFO nosuch PING") == b"*2\r\n$-1\r\n" + PING_ENTRY
    run("HELLO 3")
    assert run("COMMAND INFO nosuch") == b"*1\r\n_\r\n"


def test_command(run: CommandRunner) -> None:
    """COMMAND without arguments describes all commands."""
    reply = run("COMMAND")
    assert reply == run("COMMAND INFO")
    assert reply.startswith(b"*%d\r\n*10\r\n" % len(COMMANDS))
    assert PING_ENTRY in reply
    assert all(bulk(name.decode().lower()) in reply for name in COMMANDS)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("MODULE fib", []),
        ("ACLCAT nonsense", []),
        ("aclcat Transaction", ["multi", "discard", "exec"]),
        ("PATTERN fib.[fr]*", ["fib.first", "fib.range"]),
        ("PATTERN PING", ["ping"]),
        ("ACLCAT fast", [entry.lower_name for entry in COMMANDS.values()]),
    ],
)
def test_command_list_filters(run: CommandRunner, options: str, names: list[str]) -> None:
    """COMMAND LIST FILTERBY selects by module, category or pattern, in any case."""
    reply = run(f"COMMAND LIST FILTERBY {options}")
    assert sorted(re.findall(rb"\n([a-z._]+)\r", reply)) == sorted(map(str.encode, names))
    assert reply.startswith(b"*%d\r\n" % len(names))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_recommended_by_errors_exists(run: CommandRunner, name: bytes) -> None:
    """Every HELP that an error recommends exists, and lists existing subcommands."""
    try:
        run([name, b"NO-SUCH"])
        return
    except CommandError as error:
        if f"Try {name.decode()} HELP" not in str(error):
            return
    lines = run([name.lower(), b"help"]).split(b"\r\n")
    assert lines[0] == b"*%d" % (len(lines) - 2)
    assert lines[1].startswith(b"+%b <subcommand> " % name)
    subcommands = [line[1:].split()[0] for line in lines[2:-1] if line[1:2] != b" "]
    assert b"HELP" in subcommands
    assert all(line[:1] == b"+" for line in lines[1:-1])
    for subcommand in subcommands:
        with contextlib.suppress(CommandError):
            run.session.last_command = ""
            run([name, subcommand])
        assert run.session.last_command == b"|".join([name, subcommand]).decode().lower()


def test_command_docs(run: CommandRunner) -> None:
    """COMMAND DOCS has the fields that redis-cli shows, with flags as simple strings."""
    fields = [
        (bulk("summary"), bulk(COMMANDS[b"PING"].summary)),
        (bulk("since"), bulk("1.0.0")),
        (bulk("group"), bulk("connection")),
    ]
    body = b"".join(name + value for name, value in fields) + bulk("arguments") + b"*1\r\n"
    argument = bulk("name") + bulk("message") + bulk("type") + bulk("string") + bulk("flags")
    flags = b"*1\r\n+optional\r\n"
    assert run("COMMAND DOCS ping") == (
        b"*2\r\n" + bulk("ping") + b"*8\r\n" + body + b"*6\r\n" + argument + flags
    )
    run("HELLO 3")
    assert run("COMMAND DOCS ping") == (
        b"%1\r\n" + bulk("ping") + b"%4\r\n" + body + b"%3\r\n" + argument + flags
    )


@pytest.mark.parametrize("line", ["COMMAND", "COMMAND INFO", "COMMAND LIST", "COMMAND DOCS"])
def test_clients_share_one_reply_object(runners: list[CommandRunner], line: str) -> None:
    """All clients share one reply object, so that it takes memory once."""
    words = line.encode().split()
    (one,), (other,) = (list(execute(runner.session, words)[2]) for runner in runners[:2])
    assert one is other
    runners[2]("HELLO 3")
    (third,) = list(execute(runners[2].session, words)[2])
    assert (third == one) == (line != "COMMAND DOCS")


@pytest.mark.parametrize(
    "line", ["CONFIG GET *a*b*c*d ?*?", "SLOWLOG GET -1", "LATENCY HISTOGRAM"]
)
def test_long_replies_are_made_in_steps(run: CommandRunner, line: str) -> None:
    """Long replies are iterators of many parts."""
    make_slow(run, 50)
    for name in COMMANDS:
        run.server.statistics.command(name.decode().lower()).record(0.1)
    _, _, replies = execute(run.session, line.encode().split())
    assert not isinstance(replies, list)
    assert len(list(replies)) > 10


def test_command_docs_of_all(run: CommandRunner) -> None:
    """COMMAND DOCS documents all commands by default, and omits unknown names."""
    reply = run("COMMAND DOCS")
    assert reply.startswith(b"*%d\r\n" % (2 * len(COMMANDS)))
    assert all(bulk(entry.summary) in reply for entry in COMMANDS.values())
    assert bulk("token") + bulk("FORMAT") in reply
    assert bulk("optional") not in reply
    assert run("COMMAND DOCS nosuch") == b"*0\r\n"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("maxclients", {"maxclients"}),
        ("MaxClients", {"maxclients"}),
        ("save appendonly", {"save", "appendonly"}),
        ("save sav? s[a-b]ve", {"save"}),
        ("max_*", {"max_answer_bytes", "max_index", "max_clients", "max_output_bytes"}),
        ("max", set()),
    ],
)
def test_config_get_patterns(run: CommandRunner, patterns: str, names: set[str]) -> None:
    """CONFIG GET returns the settings that match any pattern."""
    shown = run(f"CONFIG GET {patterns}").decode().split("\r\n")[2::4]
    assert len(shown) == len(set(shown))
    assert set(shown) == names


def test_config_get_values() -> None:
    """CONFIG GET returns current values under fibserver's and Redis's names."""
    run = CommandRunner(max_clients=123, memory_limit=64 * 2**20, max_index=5000)
    for line, value in (
        ("maxclients", "123"),
        ("max_clients", "123"),
        ("maxmemory", str(64 * 2**20)),
        ("memory_limit", str(64 * 2**20)),
        ("max_index", "5000"),
    ):
        assert run(f"CONFIG GET {line}") == bulks(line, value)


def test_time_has_seconds_and_microseconds(run: CommandRunner) -> None:
    """TIME returns seconds and microseconds as two strings."""
    match = re.fullmatch(rb"\*2\r\n\$\d+\r\n(\d+)\r\n\$\d+\r\n(\d+)\r\n", run("TIME"))
    assert match is not None
    assert int(match[2]) < 1_000_000
