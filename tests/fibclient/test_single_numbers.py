"""Digits, remainders and indices of single numbers, from a server and from invalid replies."""

from collections.abc import Callable

import pytest

from fibclient import FibClient, NumberDigits, NumberIndex, RequestRefused, ServerMisbehaved
from fibclient.connections.resp import Reply
from fibclient.single_numbers import parse_digits, parse_digits_list, parse_index, parse_number
from fibcommon import digits, indices, modular
from tests.support.servers import RunningServer


@pytest.fixture
def client(server: RunningServer) -> FibClient:
    """Return a client of a real server, without retries."""
    return FibClient(server.address, max_retries=0)


@pytest.mark.parametrize("n", [0, 1, 7, 1000, 10_001, 10**100, 10**1000 - 1], ids=range(7))
def test_digits(client: FibClient, n: int) -> None:
    """The digits are those that are computed here, for any n."""
    with client:
        assert client.digits(n) == tuple(digits.digits(n, 20, 20))
        assert client.digits(n, last=0, first=50) == tuple(digits.digits(n, 50, 0))
        assert client.digits(n, 0, 100) == tuple(digits.digits(n, 0, 100))


@pytest.mark.parametrize("start", [0, 10_000, 10**100, 10**1000 - 20], ids=range(4))
def test_digits_of_ranges(client: FibClient, start: int) -> None:
    """Each number of a range has the digits that it has alone; an empty range has none."""
    stop = start + 20
    with client:
        found = client.range_digits(start, stop, first=30, last=0)
        assert found == [tuple(digits.digits(n, 30, 0)) for n in range(start, stop)]
        assert client.range_digits(start, start) == []
        assert client.submit("range_digits", start, stop, 30, 0).result() == found


def test_longest_range(client: FibClient) -> None:
    """A range of a thousand numbers fits the reply that the client accepts; longer ones do not."""
    with client:
        assert client.range_digits(0, 1000)[-1] == tuple(digits.digits(999, 20, 20))
        assert len(client.range_digits(10**7, 10**7 + 29, 1000, 1000)) == 29
        with pytest.raises(RequestRefused, match="COUNT must be between 0 and 29 for 1000 first"):
            client.range_digits(10**7, 10**7 + 30, 1000, 1000)


@pytest.mark.parametrize(
    ("n", "m"), [(0, 1), (10, 3), (10**100, 10**20), (10**999, 97)], ids=range(4)
)
def test_remainders(client: FibClient, n: int, m: int) -> None:
    """The remainders are those that are computed here."""
    with client:
        assert client.mod(n, m) == modular.fibonacci_mod(n, m)


@pytest.mark.parametrize("x", [0, 1, 2, 4, 100, 832_040, 10**300 + 7, 10**4000 - 1], ids=range(8))
def test_indices(client: FibClient, x: int) -> None:
    """Index, neighbours and Zeckendorf sum are those that are computed here."""
    with client:
        expected = NumberIndex(*indices.position(x), tuple(indices.zeckendorf(x)))
        assert client.index(x) == expected


def test_first_index(client: FibClient) -> None:
    """The first index of a number of digits is found, for any such number."""
    with client:
        assert client.first_index(1) == 0
        assert client.first_index(1000) == 4782
        count = client.digits(10**1000 - 1).digits
        assert client.first_index(digits=count) < 10**1000


def test_queued_calls(client: FibClient) -> None:
    """They can be submitted and mapped too."""
    with client:
        assert client.submit("digits", 7, 1, 1).result() == NumberDigits(2, "1", "3")
        assert client.submit("index", 8).result().indices == (6,)
        assert list(client.map("mod", range(8), [5] * 8)) == [0, 1, 1, 2, 3, 0, 3, 3]


def test_arguments_are_checked_before_a_request() -> None:
    """An argument out of range is a ValueError that names it, without a server."""
    calls: list[tuple[str, Callable[[FibClient], object]]] = [
        ("n must be at least 0 and below 10", lambda fib: fib.digits(-1)),
        ("first must be between 0 and 1000, not 1001", lambda fib: fib.digits(5, 1001)),
        ("last must be between 0 and 1000, not -1", lambda fib: fib.digits(5, 5, -1)),
        ("start must be at least 0 and below 10", lambda fib: fib.range_digits(-1, 5)),
        ("first must be between 0 and 1000", lambda fib: fib.range_digits(0, 5, 1001)),
        ("stop must not be less than start", lambda fib: fib.range_digits(5, 4)),
        ("n must be at least 0 and below 10", lambda fib: fib.mod(10**1000, 5)),
        ("m must be at least 1 and below 10", lambda fib: fib.mod(5, 0)),
        ("x must be at least 0 and have at most 4000", lambda fib: fib.index(10**5000)),
        ("digits must be at least 1 and at most", lambda fib: fib.first_index(0)),
    ]
    with FibClient("127.0.0.1:1") as fib:
        for message, call in calls:
            with pytest.raises(ValueError, match=message):
                call(fib)


def test_long_arguments_are_calculated_by_workers(client: FibClient) -> None:
    """Values that take some tenths of a second are right as well."""
    n, modulus = 10**999, 10**999 - 1
    with client:
        assert client.mod(n, modulus) == modular.fibonacci_mod(n, modulus)
        assert client.digits(n, last=999).last == f"{modular.fibonacci_mod(n, 10**999):0>999}"


INVALID_DIGITS: list[Reply] = [
    None,
    5,
    [],
    [b"digits", b"5"],
    [b"digits", b"5", b"first", b"1", b"last"],
    [b"digits", b"5", b"first", b"1", b"last", b"x"],
    [b"digits", b"", b"first", b"1", b"last", b"1"],
    [b"digits", b"5" * 5000, b"first", b"1", b"last", b"1"],
    [b"digits", 5, b"first", b"1", b"last", b"1"],
]

INVALID_INDICES: list[Reply] = [
    b"5",
    [b"indices", [5], b"below", 4, b"above", 6],
    [b"indices", [b"5"], b"below", 4, b"above", 6, b"zeckendorf", [5]],
    [b"indices", [5], b"below", 4, b"above", None, b"zeckendorf", [5]],
    [b"indices", [5], b"below", 4, b"above", 6, b"zeckendorf", [[]]],
]


@pytest.mark.parametrize("reply", INVALID_DIGITS)
def test_invalid_digits(reply: Reply) -> None:
    """A reply that is no map of digits raises ServerMisbehaved."""
    with pytest.raises(ServerMisbehaved, match=r"invalid reply to FIB\.DIGITS"):
        parse_digits(reply)
    with pytest.raises(ServerMisbehaved, match=r"invalid reply to FIB\.DIGITS"):
        parse_digits_list([reply], 1)


@pytest.mark.parametrize("reply", [None, 5, [], b"x"])
def test_invalid_lists_of_digits(reply: Reply) -> None:
    """A list with another number of items raises ServerMisbehaved."""
    with pytest.raises(ServerMisbehaved, match=r"invalid reply to FIB\.DIGITS"):
        parse_digits_list(reply, 2)


@pytest.mark.parametrize("reply", INVALID_INDICES)
def test_invalid_indices(reply: Reply) -> None:
    """A reply that is no map of indices raises ServerMisbehaved."""
    with pytest.raises(ServerMisbehaved, match=r"invalid reply to FIB\.INDEX"):
        parse_index(reply)


@pytest.mark.parametrize("reply", [None, 5, "5", b"", b"-5", b"x", b"5" * 1001])
def test_invalid_numbers(reply: Reply) -> None:
    """A reply that is no number of at most 1,000 digits raises ServerMisbehaved."""
    with pytest.raises(ServerMisbehaved, match=r"invalid reply to FIB\.MOD"):
        parse_number("FIB.MOD", reply)
