"""Commands, run against a server that has no socket, no worker and no memory."""

import re
from typing import Any

import pytest

from fibclient.formats import FORMATS, Format
from fibserver.commands import COMMANDS, execute
from fibserver.commands.transaction import MAX_QUEUED
from fibserver.replies import CommandError, Reply, Slice, encode_error
from fibserver.session import Session
from fibserver.settings import Settings
from tests.numbers import encoded

PONG = b"+PONG\r\n"
OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"


class FakeServer:
    """A server that knows its settings and remembers whose size it was asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sized: list[tuple[str, int]] = []

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return the size of an answer."""
        self.sized.append((format.name, stop))
        return format.slice_size(start, stop)

    def information(self, sections: list[str]) -> str:
        """Return the names of the sections asked for."""
        return ",".join(sections)


class Talk:
    """A client's conversation: words in, the reply's bytes out.

    Attributes:
        session: the client's.
        server: whom it talks to.
    """

    def __init__(self, **settings: Any) -> None:
        self.server = FakeServer(Settings(**settings))
        self.session = Session(self.server, 7, "127.0.0.1:50000")

    def __call__(self, line: str | list[bytes]) -> bytes:
        """Run a request; return its replies as they would be sent."""
        words = line.encode().split() if isinstance(line, str) else line
        _, replies = execute(self.session, words)
        return b"".join(map(sent, replies))

    def refusal(self, line: str | list[bytes]) -> str:
        """Run a request that is refused; return the error reply's line without the '-'."""
        with pytest.raises(CommandError) as caught:
            self(line)
        reply = encode_error(str(caught.value), caught.value.code)
        assert reply.endswith(b"\r\n")
        assert not set(reply[:-2]) & set(b"\r\n")
        return reply[1:-2].decode()


@pytest.fixture
def talk() -> Talk:
    """A conversation under default settings."""
    return Talk()


def sent(reply: Reply) -> bytes:
    """Return the bytes of a reply, a slice filled in by naive encoding."""
    if not isinstance(reply, Slice):
        return reply
    elements = b"".join(encoded(reply.format.name, reply.start, reply.stop))
    assert 0 <= len(elements) - reply.size <= reply.format.separator_size
    return reply.header + elements[: reply.size] + reply.trailer


def bulk(text: str) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


def bulks(*texts: str) -> bytes:
    """Return an array of bulk strings."""
    return b"*%d\r\n%b" % (len(texts), b"".join(map(bulk, texts)))


HELLO_FIELDS = {
    "server": bulk("fibserver"),
    "version": bulk("7.0.15"),
    "proto": b":2\r\n",
    "id": b":7\r\n",
    "mode": bulk("standalone"),
    "role": bulk("master"),
    "modules": b"*0\r\n",
}
HELLO_BODY = b"".join(bulk(name) + value for name, value in HELLO_FIELDS.items())
HELLO_2 = b"*14\r\n" + HELLO_BODY
HELLO_3 = b"%7\r\n" + HELLO_BODY.replace(b":2\r\n", b":3\r\n")

ANSWERS = [
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
    ("FIB.NUMBER 7 FORMAT csv", bulk("7,13\n")),
    ("FIB.SIZE 0 5", b":35\r\n"),
    ("FIB.SIZE 0 5 FORMAT json", b":19\r\n"),
    ("FIB.SIZE 7 8 FORMAT binary", b":5\r\n"),
    ("FIB.SIZE 7 7 FORMAT json", b":0\r\n"),
]

REFUSALS = [
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
    ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
    ("CLIENT GETNAME x", "ERR wrong number of arguments for 'client|getname' command"),
    ("CLIENT SETINFO LIB-NAME", "ERR wrong number of arguments for 'client|setinfo' command"),
    ("CLIENT SETINFO COLOUR red", "ERR Unrecognized option 'COLOUR'"),
    ("CONFIG GET", "ERR wrong number of arguments for 'config|get' command"),
    ("CONFIG SET save x", "ERR unknown subcommand 'SET'. Try CONFIG HELP."),
    ("COMMAND NONSENSE", "ERR unknown subcommand 'NONSENSE'. Try COMMAND HELP."),
    ("EXEC", "ERR EXEC without MULTI"),
    ("DISCARD", "ERR DISCARD without MULTI"),
    ("FIB.FIRST -1", "ERR n must be a non-negative decimal integer, not '-1'"),
    ("FIB.FIRST +1", "ERR n must be a non-negative decimal integer, not '+1'"),
    ("FIB.FIRST 1.5", "ERR n must be a non-negative decimal integer, not '1.5'"),
    ("FIB.FIRST 1_0", "ERR n must be a non-negative decimal integer, not '1_0'"),
    ("FIB.FIRST ١", r"ERR n must be a non-negative decimal integer, not '\xd9\xa1'"),
    ("FIB.NUMBER x", "ERR n must be a non-negative decimal integer, not 'x'"),
    ("FIB.RANGE x 1", "ERR start must be a non-negative decimal integer, not 'x'"),
    ("FIB.RANGE 1 x", "ERR stop must be a non-negative decimal integer, not 'x'"),
    ("FIB.RANGE 8 7", "ERR start 8 is greater than stop 7"),
    ("FIB.SIZE 8 7", "ERR start 8 is greater than stop 7"),
    ("FIB.FIRST 5 json", "ERR syntax error: expected FORMAT and a format's name, not 'json'"),
    ("FIB.FIRST 5 FORMAT", "ERR syntax error: expected FORMAT and a format's name, not 'FORMAT'"),
    ("FIB.FIRST 5 FORMAT json x", "ERR syntax error: expected FORMAT and a format's name"),
    ("FIB.RANGE 5 6 7", "ERR syntax error: expected FORMAT and a format's name, not '7'"),
    (
        "FIB.NUMBER 5 FORMAT xml",
        "ERR unknown format 'xml', it must be one of array, json, text, csv, ndjson, bfile",
    ),
]

TOO_FEW_OR_MANY = [
    (entry.name, count)
    for entry in COMMANDS.values()
    for count in range(1, 9)
    if (count < -entry.arity if entry.arity < 0 else count != entry.arity)
]


@pytest.mark.parametrize(("line", "answer"), ANSWERS)
def test_answers(talk: Talk, line: str, answer: bytes) -> None:
    """Each command answers these bytes on a new connection."""
    assert talk(line) == answer


@pytest.mark.parametrize(("line", "message"), REFUSALS)
def test_refusals(talk: Talk, line: str, message: str) -> None:
    """Each bad request is refused in these words, and the conversation goes on."""
    assert talk.refusal(line).startswith(message)
    assert talk("PING") == PONG


@pytest.mark.parametrize(("name", "count"), TOO_FEW_OR_MANY)
def test_number_of_words(talk: Talk, name: str, count: int) -> None:
    """A command with too few or too many words is refused by name."""
    refusal = talk.refusal(" ".join([name, *["0"] * (count - 1)]))
    assert refusal == f"ERR wrong number of arguments for '{name.lower()}' command"


def test_long_unknown_command_is_cut(talk: Talk) -> None:
    """An error repeats at most 128 bytes of a name or an argument, on one line."""
    cut = "x" * 128
    assert talk.refusal([b"x" * 4000, b"x" * 200]) == (
        f"ERR unknown command '{cut}', with args beginning with: '{cut}'"
    )
    assert talk.refusal([b"a\r\n+OK\r\n"]).startswith("ERR unknown command 'a  +OK  ', ")
    assert cut + "x" not in talk.refusal([b"FIB.FIRST", b"x" * 4000])
    assert cut + "x" not in talk.refusal([b"FIB.FIRST", b"1", b"FORMAT", b"x" * 4000])
    assert cut + "x" not in talk.refusal([b"CLIENT", b"x" * 4000])


def test_any_bytes_for_a_command(talk: Talk) -> None:
    """Empty and binary words are refused like any other unknown command."""
    assert talk.refusal([b""]).startswith("ERR unknown command ''")
    assert talk.refusal([b"\xff\0"]).startswith(r"ERR unknown command '\xff '")


# FIB.* and its limits.


@pytest.mark.parametrize("name", FORMATS)
def test_first_in_every_format(talk: Talk, name: str) -> None:
    """In every format the first n are what FIB.SIZE says they take."""
    answer = talk(f"FIB.FIRST 300 FORMAT {name}")
    size = int(talk(f"FIB.SIZE 0 300 FORMAT {name}")[1:-2])
    header = b"*300\r\n" if name == "array" else b"$%d\r\n" % size
    assert answer.startswith(header)
    assert len(answer) == len(header) + size + (0 if name == "array" else 2)


@pytest.mark.parametrize("name", FORMATS)
def test_largest_answer(name: str) -> None:
    """An answer of exactly max_answer_bytes is given; one byte more is too large."""
    size = FORMATS[name].slice_size(10, 40)
    request = f"FIB.RANGE 10 40 FORMAT {name}"
    assert Talk(max_answer_bytes=size)(request)
    assert Talk(max_answer_bytes=size - 1).refusal(request) == (
        f"LIMIT the answer would be {size} bytes, max_answer_bytes is {size - 1}"
    )


def test_too_large_is_refused_before_any_work() -> None:
    """A huge answer is refused with its size and the limit."""
    talk = Talk(max_answer_bytes=2**31)
    size = FORMATS["array"].slice_size(0, 10_000_000)
    assert talk.refusal("FIB.FIRST 10000000") == (
        f"LIMIT the answer would be {size} bytes, max_answer_bytes is {2**31}"
    )


def test_size_of_too_large_an_answer(talk: Talk) -> None:
    """FIB.SIZE tells the size even of what would be refused."""
    assert talk("FIB.SIZE 0 10000000 FORMAT text") == b":%d\r\n" % FORMATS["text"].offset(10**7)


def test_largest_index() -> None:
    """F(max_index) can be had in every way; nothing beyond it can."""
    talk = Talk(max_index=100)
    for line in ("FIB.FIRST 101", "FIB.RANGE 99 101", "FIB.NUMBER 100", "FIB.SIZE 0 101"):
        assert talk(line)
    talk.server.sized.clear()
    for line in ("FIB.FIRST 102", "FIB.RANGE 99 102", "FIB.NUMBER 101", "FIB.SIZE 0 102"):
        assert talk.refusal(line) == "LIMIT the answer would reach F(101), max_index is 100"
    assert talk.server.sized == []


@pytest.mark.parametrize("command", ["FIB.FIRST", "FIB.NUMBER", "FIB.RANGE 0", "FIB.SIZE 0"])
def test_number_of_many_digits(talk: Talk, command: str) -> None:
    """An index as long as a request allows is refused without being repeated whole."""
    refusal = talk.refusal(f"{command} {'9' * 4000}")
    assert refusal.startswith("LIMIT the answer would reach F(99999999999999999999... of 4000")
    assert len(refusal) < 200
    assert len(talk.refusal(f"FIB.RANGE {'9' * 2000} {'8' * 2000}")) < 200


def test_only_answers_that_never_change_are_marked_so() -> None:
    """The FIB.* commands, and no others, may be answered again without being run."""
    assert {name for name, entry in COMMANDS.items() if entry.is_immutable} == {
        name for name in COMMANDS if name.startswith(b"FIB.")
    }


# The connection.


def test_hello_switches_the_protocol(talk: Talk) -> None:
    """HELLO 3 and HELLO 2 change how maps and nulls travel; HELLO alone changes nothing."""
    assert talk("HELLO 3") == talk("HELLO") == HELLO_3
    assert talk("CLIENT GETNAME") == b"_\r\n"
    assert talk("CONFIG GET save") == b"%1\r\n" + bulk("save") + bulk("")
    assert talk("HELLO 2") == HELLO_2
    assert talk("CLIENT GETNAME") == b"$-1\r\n"


@pytest.mark.parametrize(
    "line",
    ["HELLO 4", "HELLO 3 AUTH someone x", "HELLO 3 SETNAME me AUTH x", "HELLO 3 SETNAME me X"],
)
def test_refused_hello_changes_nothing(talk: Talk, line: str) -> None:
    """After a HELLO that was refused protocol and name are as before."""
    talk.refusal(line)
    assert talk("HELLO") == HELLO_2
    assert talk("CLIENT GETNAME") == b"$-1\r\n"


def test_client_name(talk: Talk) -> None:
    """A name is kept, however it was given, until it is changed or taken back."""
    talk("CLIENT SETNAME me")
    assert talk("CLIENT GETNAME") == bulk("me")
    talk("HELLO 2 SETNAME myself")
    assert talk("CLIENT GETNAME") == bulk("myself")
    talk([b"CLIENT", b"SETNAME", b""])
    assert talk("CLIENT GETNAME") == b"$-1\r\n"


@pytest.mark.parametrize("word", [b"two words", b"line\nbreak", b"\xff", b"\x7f", b"\0"])
def test_names_are_single_words(talk: Talk, word: bytes) -> None:
    """Names that would break the lines of CLIENT INFO are refused."""
    for words in ([b"SETNAME"], [b"SETINFO", b"LIB-NAME"], [b"SETINFO", b"LIB-VER"]):
        assert "cannot contain spaces, newlines" in talk.refusal([b"CLIENT", *words, word])
    assert "cannot contain spaces" in talk.refusal([b"HELLO", b"2", b"SETNAME", word])


def test_client_info(talk: Talk) -> None:
    """CLIENT INFO is one line that tells what the client has said about itself."""
    for line in ("SETNAME me", "SETINFO LIB-NAME lib", "SETINFO LIB-VER 1.2"):
        talk(f"CLIENT {line}")
    answer = talk("CLIENT INFO").decode()
    assert re.fullmatch(r"\$\d+\r\n[^\n]+\n\r\n", answer)
    fields = set(answer.split())
    assert fields >= {"id=7", "addr=127.0.0.1:50000", "name=me", "resp=2"}
    assert fields >= {"lib-name=lib", "lib-ver=1.2"}


def test_quit(talk: Talk) -> None:
    """Only QUIT ends the conversation."""
    talk("PING")
    assert not talk.session.is_quitting
    talk("QUIT")
    assert talk.session.is_quitting


def test_reset(talk: Talk) -> None:
    """RESET forgets protocol, name and transaction."""
    for line in ("HELLO 3 SETNAME me", "MULTI", "PING"):
        talk(line)
    assert talk("RESET") == b"+RESET\r\n"
    assert talk("HELLO") == HELLO_2
    assert talk("CLIENT GETNAME") == b"$-1\r\n"
    assert talk.refusal("EXEC") == "ERR EXEC without MULTI"


# Transactions.


def test_exec(talk: Talk) -> None:
    """Requests after MULTI are queued and answered together, in their order."""
    for line, reply in (("MULTI", OK), ("PING", QUEUED), ("FIB.FIRST 2", QUEUED)):
        assert talk(line) == reply
    assert talk.server.sized == [], "nothing is done before EXEC"
    assert talk("EXEC") == b"*2\r\n" + PONG + bulks("0", "1")
    assert talk("PING") == PONG


def test_empty_transaction(talk: Talk) -> None:
    """A transaction may hold nothing."""
    talk("MULTI")
    assert talk("EXEC") == b"*0\r\n"


def test_discard(talk: Talk) -> None:
    """DISCARD forgets the queue, and what was wrong with it."""
    talk("MULTI")
    talk("PING")
    talk.refusal("NOSUCH")
    assert talk("DISCARD") == OK
    assert talk("MULTI") == OK
    assert talk("EXEC") == b"*0\r\n"


def test_multi_does_not_nest(talk: Talk) -> None:
    """MULTI within a transaction is refused."""
    talk("MULTI")
    assert talk.refusal("MULTI") == "ERR MULTI calls can not be nested"


@pytest.mark.parametrize("line", ["NOSUCH", "ECHO", "FIB.FIRST"])
def test_refused_request_aborts_its_transaction(talk: Talk, line: str) -> None:
    """After a request that could not be queued EXEC is refused, once."""
    talk("MULTI")
    talk("PING")
    talk.refusal(line)
    assert talk("PING") == QUEUED
    assert talk.refusal("EXEC") == ("EXECABORT Transaction discarded because of previous errors.")
    assert talk("PING") == PONG
    talk("MULTI")
    assert talk("EXEC") == b"*0\r\n"


def test_error_within_exec(talk: Talk) -> None:
    """A queued request that fails has an error for its reply; the others are answered."""
    for line in ("MULTI", "PING", "SELECT 1", "FIB.FIRST 10000000", "PING"):
        talk(line)
    first, second, third, fourth, fifth, end = talk("EXEC").split(b"\r\n")
    assert [first, second, fifth, end] == [b"*4", b"+PONG", b"+PONG", b""]
    assert third == b"-ERR DB index is out of range"
    assert fourth.startswith(b"-LIMIT the answer would be ")


def test_transaction_is_bounded(talk: Talk) -> None:
    """A transaction takes so many requests; one more is refused and aborts it."""
    talk("MULTI")
    assert {talk("PING") for _ in range(MAX_QUEUED)} == {QUEUED}
    assert talk.refusal("PING") == f"ERR a transaction may hold {MAX_QUEUED} requests"
    assert talk.session.transaction is not None
    assert len(talk.session.transaction) == MAX_QUEUED
    assert talk.refusal("EXEC").startswith("EXECABORT")
    assert talk("PING") == PONG


def test_full_transaction(talk: Talk) -> None:
    """The largest transaction is answered whole."""
    talk("MULTI")
    for _ in range(MAX_QUEUED):
        talk("PING")
    assert talk("EXEC") == b"*%d\r\n" % MAX_QUEUED + PONG * MAX_QUEUED


# The server.

PING_ENTRY = (
    b"*10\r\n" + bulk("ping") + b":-1\r\n*2\r\n+readonly\r\n+fast\r\n"
    b":0\r\n:0\r\n:0\r\n" + b"*0\r\n" * 4
)


def test_command_info(talk: Talk) -> None:
    """COMMAND INFO describes the commands asked for, with null for unknown ones."""
    assert talk("COMMAND INFO ping") == b"*1\r\n" + PING_ENTRY
    assert talk("COMMAND INFO nosuch PING") == b"*2\r\n$-1\r\n" + PING_ENTRY
    talk("HELLO 3")
    assert talk("COMMAND INFO nosuch") == b"*1\r\n_\r\n"


def test_command(talk: Talk) -> None:
    """COMMAND alone describes all commands."""
    answer = talk("COMMAND")
    assert answer == talk("COMMAND INFO")
    assert answer.startswith(b"*%d\r\n*10\r\n" % len(COMMANDS))
    assert PING_ENTRY in answer
    assert all(bulk(name.decode().lower()) in answer for name in COMMANDS)


def test_command_docs(talk: Talk) -> None:
    """COMMAND DOCS tells what redis-cli shows; its flags are simple strings."""
    fields = [
        (bulk("summary"), bulk(COMMANDS[b"PING"].summary)),
        (bulk("since"), bulk("1.0.0")),
        (bulk("group"), bulk("connection")),
    ]
    body = b"".join(name + value for name, value in fields) + bulk("arguments") + b"*1\r\n"
    argument = bulk("name") + bulk("message") + bulk("type") + bulk("string") + bulk("flags")
    flags = b"*1\r\n+optional\r\n"
    assert talk("COMMAND DOCS ping") == (
        b"*2\r\n" + bulk("ping") + b"*8\r\n" + body + b"*6\r\n" + argument + flags
    )
    talk("HELLO 3")
    assert talk("COMMAND DOCS ping") == (
        b"%1\r\n" + bulk("ping") + b"%4\r\n" + body + b"%3\r\n" + argument + flags
    )


def test_command_docs_of_all(talk: Talk) -> None:
    """COMMAND DOCS alone documents every command; unknown names are left out."""
    answer = talk("COMMAND DOCS")
    assert answer.startswith(b"*%d\r\n" % (2 * len(COMMANDS)))
    assert all(bulk(entry.summary) in answer for entry in COMMANDS.values())
    assert bulk("token") + bulk("FORMAT") in answer
    assert bulk("optional") not in answer
    assert talk("COMMAND DOCS nosuch") == b"*0\r\n"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("maxclients", {"maxclients"}),
        ("MaxClients", {"maxclients"}),
        ("save appendonly", {"save", "appendonly"}),
        ("save sav? s[a-b]ve", {"save"}),
        ("max_*", {"max_answer_bytes", "max_index", "max_clients"}),
        ("max", set()),
    ],
)
def test_config_get_patterns(talk: Talk, patterns: str, names: set[str]) -> None:
    """CONFIG GET answers the settings that match any of its patterns."""
    shown = talk(f"CONFIG GET {patterns}").decode().split("\r\n")[2::4]
    assert len(shown) == len(set(shown))
    assert set(shown) == names


def test_config_get_values() -> None:
    """CONFIG GET tells the values in force, by our names and by Redis's."""
    talk = Talk(max_clients=123, memory_limit="64MiB", max_index=5000)
    for line, value in (
        ("maxclients", "123"),
        ("max_clients", "123"),
        ("maxmemory", str(64 * 2**20)),
        ("memory_limit", str(64 * 2**20)),
        ("max_index", "5000"),
    ):
        assert talk(f"CONFIG GET {line}") == bulks(line, value)


def test_time(talk: Talk) -> None:
    """TIME is seconds and microseconds as two strings."""
    match = re.fullmatch(rb"\*2\r\n\$\d+\r\n(\d+)\r\n\$\d+\r\n(\d+)\r\n", talk("TIME"))
    assert match is not None
    assert int(match[2]) < 1_000_000
