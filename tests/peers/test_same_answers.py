"""The same questions over RESP, REST, client library and command line have the same answers.

Those of the page are in `tests/fibweb/page/test_same_answers.py`, where the browser runs.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from falcon import testing

from fibclient import FibClient, RequestRefused
from fibcommon.formats import FORMATS
from fibweb import create_app
from tests.support.fibclient_command import fibclient
from tests.support.questions import ANSWERED, REJECTED, Question
from tests.support.servers import RunningServer


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
    elif reply and isinstance(reply, list) and isinstance(reply[0], dict):
        assert question.reduced(reply) == answer
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
