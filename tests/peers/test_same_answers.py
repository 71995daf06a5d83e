"""The same questions over RESP, REST, client library and command line have the same answers."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis
from falcon import testing

from fibclient import FibClient, RequestRefused
from fibcommon.formats import FORMATS
from fibweb import create_app
from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer

GOOGOL = str(10**100)
LONG = "9" * 1000
LONGEST = "9" * 4000


class Question(NamedTuple):
    """One question, as it is put at each door.

    Attributes:
        command: Words of the command over RESP.
        target: Path and query of the request over REST.
        call: Call of the client library.
        arguments: Arguments on the command line.
        reduced: Reduces the document of REST, or of the command line, to what the client library
            returns.
    """

    command: str
    target: str
    call: Callable[[FibClient], object]
    arguments: str
    reduced: Callable[[Any], object]


def digits(n: str, first: int, last: int) -> Question:
    """Ask for the number of digits, the first and the last ones."""
    return Question(
        f"FIB.DIGITS {n} FIRST {first} LAST {last}",
        f"/digits/{n}?first={first}&last={last}",
        lambda fib: fib.digits(int(n), first, last),
        f"digits {n} --first {first} --last {last}",
        lambda found: (int(found["digits"]), found["first"], found["last"]),
    )


def mod(n: str, m: str) -> Question:
    """Ask for a remainder."""
    return Question(
        f"FIB.MOD {n} {m}",
        f"/number/{n}?mod={m}",
        lambda fib: fib.mod(int(n), int(m)),
        f"mod {n} {m}",
        lambda found: int(found["remainder"]),
    )


def index(x: str) -> Question:
    """Ask which Fibonacci number x is."""
    return Question(
        f"FIB.INDEX {x}",
        f"/index/{x}",
        lambda fib: fib.index(int(x)),
        f"index {x}",
        lambda found: (
            tuple(found["indices"]),
            found["below"],
            found["above"],
            tuple(found["zeckendorf"]),
        ),
    )


def first_index(length: str) -> Question:
    """Ask for the first index whose number has a number of digits."""
    return Question(
        f"FIB.INDEX DIGITS {length}",
        f"/index?digits={length}",
        lambda fib: fib.first_index(int(length)),
        f"index --digits {length}",
        lambda found: int(found["index"]),
    )


def first(n: str) -> Question:
    """Ask for the first numbers."""
    return Question(
        f"FIB.FIRST {n}",
        f"/fib/{n}",
        lambda fib: fib.first(int(n)),
        f"first {n}",
        lambda found: [int(value) for value in _numbers(found)],
    )


def _numbers(found: Any) -> list[str]:
    """Return the numbers, which the command line prints without more."""
    numbers: list[str] = found if isinstance(found, list) else found["result"]
    return numbers


def number(n: str) -> Question:
    """Ask for one number."""
    return Question(
        f"FIB.NUMBER {n}",
        f"/number/{n}",
        lambda fib: fib.number(int(n)),
        f"number {n}",
        lambda found: int(found["value"]),
    )


def number_digits(n: str, start: int, count: int) -> Question:
    """Ask for some digits of a number."""
    return Question(
        f"FIB.NUMBER {n} FROM {start} COUNT {count}",
        f"/number/{n}?from={start}&count={count}",
        lambda fib: fib.number_digits(int(n), start, count),
        f"number {n} --from {start} --count {count}",
        lambda found: found["value"],
    )


ANSWERED = [
    number_digits("0", 0, 5),
    number_digits("100", 0, 3),
    number_digits("100", 19, 100),
    number_digits("100", 21, 1),
    number_digits("100000", 10_000, 40),
    digits("0", 20, 20),
    digits("1000", 5, 0),
    digits(GOOGOL, 20, 20),
    digits(LONG, 1000, 20),
    digits(LONG, 0, 1000),
    mod("0", "1"),
    mod("1000", "97"),
    mod(GOOGOL, "1000000007"),
    mod(LONG, "1000"),
    mod(LONG, LONG),
    index("0"),
    index("1"),
    index("100"),
    index("832040"),
    index(LONGEST),
    first_index("1"),
    first_index("1000"),
    first_index(LONG[1:]),
    first("0"),
    first("100"),
    number("300"),
]

REJECTED = [
    (digits("1" + "0" * 1000, 1, 1), "must be at least 0 and below 10^1000"),
    (digits("5", 1001, 0), "must be between 0 and 1000"),
    (mod("5", "0"), "must be at least 1 and below 10^1000"),
    (index("1" + LONGEST), "must be at least 0 and have at most 4000 digits"),
    (first_index("0"), "must be at least 1 and at most the number of digits of F(10^1000 - 1)"),
    (first_index("3" + LONG[1:]), "at most the number of digits of F(10^1000 - 1)"),
    (first("1000000"), "max_answer_bytes is 2.1 GB (2147483648 bytes); request at most "),
    (number("10000001"), "F(10000001) is too large: max_index is 10000000"),
]


class Doors:
    """All ways to put a question to one fibserver.

    Attributes:
        server: The fibserver.
        resp: Client of others for RESP3.
        rest: Test client of the web application.
        library: Client library.
    """

    def __init__(self, server: RunningServer, library: FibClient, resp: Any) -> None:
        self.server = server
        self.resp = resp
        self.library = library
        self.rest = testing.TestClient(create_app(library))

    def command_line(self, arguments: str) -> Any:
        """Return the ended command."""
        return fibclient("--server", self.server.address, "--json", *arguments.split())


@pytest.fixture(scope="module")
def doors(server: RunningServer) -> Iterator[Doors]:
    """The ways to one fibserver."""
    resp = redis.Redis(host="127.0.0.1", port=server.port, protocol=3, decode_responses=True)
    with FibClient(server.address) as library, resp:
        yield Doors(server, library, resp)


@pytest.mark.parametrize("question", ANSWERED, ids=[each.command[:50] for each in ANSWERED])
def test_answers(doors: Doors, question: Question) -> None:
    """Every door gives the same answer."""
    result = doors.rest.simulate_get(question.target)
    assert result.status_code == 200
    document = result.json
    answer = question.reduced(document)
    assert _plain(question.call(doors.library)) == _plain(answer)

    reply = doors.resp.execute_command(*question.command.split())
    if isinstance(reply, dict):
        assert reply == {name: document[name] for name in reply}
    else:
        assert _plain(reply) == _strings(answer)

    done = doors.command_line(question.arguments)
    assert done.returncode == 0
    shown = json.loads(done.stdout)
    assert question.reduced(shown) == answer


def _plain(value: object) -> object:
    """Return a value with tuples as tuples of Python's own."""
    return tuple(value) if isinstance(value, tuple) else value


def _strings(value: object) -> object:
    """Return numbers as RESP has them."""
    return [str(number) for number in value] if isinstance(value, list) else str(value)


@pytest.mark.parametrize(
    ("question", "reason"), REJECTED, ids=[each.command[:50] for each, _ in REJECTED]
)
def test_rejections(doors: Doors, question: Question, reason: str) -> None:
    """What one door rejects all reject, with the same reason."""
    with pytest.raises(redis.ResponseError) as rejected:
        doors.resp.execute_command(*question.command.split())
    assert reason in str(rejected.value)

    result = doors.rest.simulate_get(question.target)
    assert result.status_code == 400
    assert reason in result.json["detail"]

    with pytest.raises((RequestRefused, ValueError)) as raised:
        question.call(doors.library)
    assert reason in str(raised.value)

    done = doors.command_line(question.arguments)
    assert done.returncode in (1, 2)
    assert reason in " ".join(done.stderr.split())


def test_limits(doors: Doors) -> None:
    """The limits and the largest N are the same, and the refusals name it."""
    reply = doors.resp.execute_command("FIB.LIMITS")
    document = doors.rest.simulate_get("/limits").json
    largest = reply.pop("largest_n")
    assert document.pop("largest_n").items() < largest.items()
    assert reply == document
    limits = doors.library.limits()
    assert limits._asdict() == document
    assert {name: limits.largest_n(format) for name, format in FORMATS.items()} == largest

    count = str(largest["json"])
    with pytest.raises(redis.ResponseError, match=f"at most the first {count} as json"):
        doors.resp.execute_command("FIB.FIRST", "1000000", "FORMAT", "json")
    assert (
        f"at most the first {count} as json"
        in (doors.rest.simulate_get("/fib/1000000").json["detail"])
    )
    with pytest.raises(RequestRefused, match=f"at most the first {count} as json"):
        doors.library.read(0, 1_000_000, "json")
    assert f"at most the first {count} as json" in doors.command_line("first 1000000").stderr
