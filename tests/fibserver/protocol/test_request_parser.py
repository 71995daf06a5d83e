"""Tests of the request parser with whole, split and concatenated requests."""

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fibserver.protocol.request_parser import (
    MAX_ARGUMENTS,
    MAX_REQUEST_BYTES,
    QUOTED_BYTES,
    OtherProtocolError,
    ProtocolError,
    RespRequest,
    parse_request,
    printable,
)

PING = b"*1\r\n$4\r\nPING\r\n"


class ParseOutcome(NamedTuple):
    """Result of parsing: requests, then an error or the bytes of an incomplete request."""

    requests: list[list[bytes]]
    error: type[ProtocolError] | None = None
    rest: bytes = b""


def feed_whole(data: bytes) -> ParseOutcome:
    """Parse one request after another from bytes that arrived at once."""
    requests: list[list[bytes]] = []
    position = 0
    try:
        while (request := parse_request(data, position)) is not None:
            assert position < request.end <= len(data)
            position = request.end
            requests.append(request.arguments)
    except ProtocolError as error:
        return ParseOutcome(requests, type(error))
    return ParseOutcome(requests, None, data[position:])


def feed_bytewise(data: bytes) -> ParseOutcome:
    """Parse requests from bytes that arrive one at a time."""
    requests: list[list[bytes]] = []
    received = b""
    for position in range(len(data)):
        parsed, error, received = feed_whole(received + data[position : position + 1])
        requests += parsed
        if error is not None:
            return ParseOutcome(requests, error)
    return ParseOutcome(requests, None, received)


def error_in(data: bytes) -> str | None:
    """Return the error message for the first request in some bytes, None without an error."""
    try:
        parse_request(data)
    except ProtocolError as error:
        return str(error)
    return None


def first_error_in(data: bytes) -> str | None:
    """Return the first error message when bytes arrive one at a time."""
    return next(filter(None, (error_in(data[:size]) for size in range(len(data) + 1))), None)


def encode(arguments: list[bytes]) -> bytes:
    """Return a request as a RESP array of bulk strings."""
    bulks = [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"*%d\r\n%b" % (len(arguments), b"".join(bulks))


def of_size(size_bytes: int) -> bytes:
    """Return a valid array request of a size from about 1000 to 9999 bytes."""
    return encode([b"x" * (size_bytes - len(encode([b"x" * 1000])) + 1000)])


VALID = {
    "ping": (PING, [[b"PING"]]),
    "arguments": (b"*2\r\n$9\r\nFIB.FIRST\r\n$2\r\n10\r\n", [[b"FIB.FIRST", b"10"]]),
    "pipeline": (PING + PING + PING, [[b"PING"]] * 3),
    "empty argument": (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", [[b"ECHO", b""]]),
    "any bytes in an argument": (b"*1\r\n$6\r\n\r\n\0*\xff$\r\n", [[b"\r\n\0*\xff$"]]),
    "most arguments": (encode([b"a"] * MAX_ARGUMENTS), [[b"a"] * MAX_ARGUMENTS]),
    "largest": (of_size(MAX_REQUEST_BYTES), [[b"x" * (MAX_REQUEST_BYTES - 13)]]),
    "array of none": (b"*0\r\n", [[]]),
    "null array": (b"*-1\r\n", [[]]),
    "blank line": (b"\r\n", [[]]),
    "blank lines": (b"\n \t \r\n\r\n", [[], [], []]),
    "blank, then a request": (b"\r\n*0\r\n" + PING, [[], [], [b"PING"]]),
    "inline": (b"PING\r\n", [[b"PING"]]),
    "inline, LF alone": (b"PING\nPING\n", [[b"PING"], [b"PING"]]),
    "inline and array": (b"PING\r\n" + PING + b"PING\n", [[b"PING"]] * 3),
    "inline arguments": (b"  FIB.FIRST \t 10   \r\n", [[b"FIB.FIRST", b"10"]]),
    "inline, most arguments": (b"a " * MAX_ARGUMENTS + b"\n", [[b"a"] * MAX_ARGUMENTS]),
    "inline, largest": (
        b"x" * (MAX_REQUEST_BYTES - 1) + b"\n",
        [[b"x" * (MAX_REQUEST_BYTES - 1)]],
    ),
    "inline, not ASCII": (b"ECHO \xc3\xa9\xff\r\n", [[b"ECHO", b"\xc3\xa9\xff"]]),
    "double quotes": (b'ECHO "two words" "" next\r\n', [[b"ECHO", b"two words", b"", b"next"]]),
    "single quotes": (b"ECHO 'two words' '' next\r\n", [[b"ECHO", b"two words", b"", b"next"]]),
    "quotes in the other quotes": (
        b'ECHO "it\'s" \'say "a"\'\n',
        [[b"ECHO", b"it's", b'say "a"']],
    ),
    "quotes within a word": (b"ECHO a\"b c\" d'e f'\n", [[b"ECHO", b"ab c", b"de f"]]),
    "escapes": (rb'ECHO "\n\r\t\b\a\\\"\q"' + b"\n", [[b"ECHO", b'\n\r\t\b\a\\"q']]),
    "hexadecimal escapes": (rb'ECHO "\x41\xfF\x0g\x"' + b"\n", [[b"ECHO", b"A\xffx0gx"]]),
    "single-quoted escape": (rb"ECHO 'it\'s \n \x41'" + b"\n", [[b"ECHO", rb"it's \n \x41"]]),
    "escape outside quotes": (rb"ECHO \n \x41" + b"\n", [[b"ECHO", rb"\n", rb"\x41"]]),
    "almost HTTP": (
        b"GET / http\npostal\nhostile\n",
        [[b"GET", b"/", b"http"], [b"postal"], [b"hostile"]],
    ),
}

INVALID = {
    "too many arguments": (b"*17\r\n", "invalid multibulk length: '17', at most 16"),
    "huge count": (b"*1000000000\r\n", "invalid multibulk length"),
    "negative count": (b"*-2\r\n", "invalid multibulk length"),
    "no count": (b"*\r\n", "invalid multibulk length"),
    "count with a leading zero": (b"*01\r\n", "invalid multibulk length"),
    "count with a sign": (b"*+1\r\n", "invalid multibulk length"),
    "count with a blank": (b"*1 \r\n", "invalid multibulk length"),
    "count in other digits": ("*١\r\n".encode(), "invalid multibulk length"),
    "endless count": (b"*" + b"1" * 100, "invalid multibulk length"),
    "LF alone in an array": (b"*1\n$4\nPING\n*1\n$4\nPING\n", "invalid multibulk length"),
    "long argument": (b"*1\r\n$4097\r\n", "invalid bulk length: '4097', at most 4096"),
    "huge length": (b"*1\r\n$999999999999\r\n", "invalid bulk length"),
    "negative length": (b"*1\r\n$-1\r\n", "invalid bulk length"),
    "no length": (b"*1\r\n$\r\n", "invalid bulk length"),
    "length with a leading zero": (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    "length with a sign": (b"*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
    "endless length": (b"*1\r\n$" + b"1" * 100, "invalid bulk length"),
    "no bulk string": (b"*1\r\n:4\r\n", "expected '\\$', got ':'"),
    "nested array": (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '\\$', got '\\*'"),
    "line break for a bulk string": (b"*1\r\n\r\n", "expected '\\$', got ' '"),
    "length too small": (b"*1\r\n$3\r\nPING\r\n", "expected CRLF"),
    "length too large": (b"*2\r\n$5\r\nPING\r\n$1\r\na\r\n", "expected CRLF"),
    "LF after a bulk string": (b"*1\r\n$4\r\nPING\n\n", "expected CRLF"),
    "CR after a bulk string": (b"*1\r\n$4\r\nPING\r\r", "expected CRLF"),
    "too large": (of_size(MAX_REQUEST_BYTES + 1), "too big request, at most 4096 bytes"),
    "too large in all": (encode([b"x" * 1000] * 5), "too big request"),
    "wrong after the limit": (
        b"*3\r\n" + b"$2000\r\n%b\r\n" % (b"x" * 2000) * 2 + b"$200\r\n%b\r\n:1" % (b"x" * 200),
        "too big request",
    ),
    "long count": (b"*" + b"1" * 40 + b"\r\n", "invalid multibulk length: '1{15}'"),
    "long length": (b"*1\r\n$" + b"1" * 40 + b"\r\n", "invalid bulk length: '1{15}'"),
    "unfinished and too large": (of_size(MAX_REQUEST_BYTES + 9)[:-8], "too big request"),
    "inline, too many arguments": (b"a " * 17 + b"\n", "too many arguments: 17, at most 16"),
    "inline, too large": (b"x" * MAX_REQUEST_BYTES + b"\n", "too big request"),
    "inline, endless": (b"x" * (MAX_REQUEST_BYTES + 1), "too big request"),
    "quote that does not end": (b'"abc\r\n', "unbalanced quotes"),
    "single quote that does not end": (b"it's\r\n", "unbalanced quotes"),
    "quote that an escape leaves open": (rb'"abc\"' + b"\n", "unbalanced quotes"),
    "quote that ends within a word": (b'"a"b\n', "unbalanced quotes"),
    "two quotes in a word": (b"'a'\"b\"\n", "unbalanced quotes"),
    # Regression: the parser entered an endless loop of empty words.
    "quote that does not end, after a blank": (b'PING "abc\r\n', "unbalanced quotes"),
    "single quote, after a blank": (b"PING it's\r\n", "unbalanced quotes"),
    "quote that ends within a later word": (b'PING \t"a"b\n', "unbalanced quotes"),
}

HTTP = {
    "GET": b"GET / HTTP/1.1\r\n",
    "GET, LF alone": b"GET /fib/10 HTTP/1.0\n",
    "GET, lower case": b"get / http/1.1\r\n",
    "any method": b"OPTIONS * HTTP/1.1\r\n",
    "POST": b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n",
    "POST in Redis's sense": b"POST \r\n",
    "header": b"Host: localhost:11235\r\n",
    "header, lower case": b"host:\r\n",
    "TLS": b"\x16\x03\x01",
}

every_valid = pytest.mark.parametrize(("data", "requests"), VALID.values(), ids=VALID)
every_invalid = pytest.mark.parametrize(("data", "message"), INVALID.values(), ids=INVALID)
every_http = pytest.mark.parametrize("data", HTTP.values(), ids=HTTP)


@every_valid
def test_valid_requests_are_parsed(data: bytes, requests: list[list[bytes]]) -> None:
    """Valid requests are parsed, however their bytes are split and whatever follows."""
    assert feed_whole(data) == ParseOutcome(requests)
    assert feed_bytewise(data) == ParseOutcome(requests)
    assert feed_whole(data + PING) == ParseOutcome([*requests, [b"PING"]])
    assert feed_whole(data + b"*1\r\n$") == ParseOutcome(requests, rest=b"*1\r\n$")
    assert feed_whole(data + b"*?\r\n") == ParseOutcome(requests, ProtocolError)


@every_invalid
def test_malformed_requests_raise(data: bytes, message: str) -> None:
    """Malformed requests raise, however their bytes are split, and whatever surrounds them."""
    with pytest.raises(ProtocolError, match=message):
        parse_request(data)
    assert feed_whole(data) == ParseOutcome([], ProtocolError)
    assert feed_bytewise(data) == ParseOutcome([], ProtocolError)
    assert feed_whole(data + PING) == ParseOutcome([], ProtocolError)
    assert feed_whole(PING + data) == ParseOutcome([[b"PING"]], ProtocolError)


@every_invalid
def test_error_does_not_depend_on_split(data: bytes, message: str) -> None:
    """The error message does not depend on how the bytes are split."""
    assert error_in(data) == error_in(data + b"x" * 5000) == first_error_in(data)


@every_http
def test_http_and_tls_raise(data: bytes) -> None:
    """HTTP and TLS raise `OtherProtocolError`, so that no reply is sent."""
    expected = ParseOutcome([], OtherProtocolError)
    assert feed_whole(data) == feed_bytewise(data) == feed_whole(data + PING) == expected


@pytest.mark.parametrize("start", [0, 1, 14])
def test_parsing_begins_at_start(start: int) -> None:
    """Parsing begins at `start`; the end is an offset from the beginning of the data."""
    assert parse_request(b"?" * start + PING + b"?", start) == RespRequest([b"PING"], start + 14)


@pytest.mark.parametrize(
    "data", [b"", b"*", b"*1", b"*1\r", PING[:-1], b"PING", b'ECHO "a', b"\r"]
)
def test_incomplete_request_is_no_error(data: bytes) -> None:
    """An incomplete request is neither a request nor an error."""
    assert parse_request(data) is None


def test_size_counts_one_request() -> None:
    """The size limit applies to each request, not to all received data."""
    data = of_size(MAX_REQUEST_BYTES) * 3
    assert len(feed_whole(data).requests) == 3


words = st.binary(max_size=40) | st.binary(max_size=MAX_REQUEST_BYTES)
argument_lists = st.lists(words, max_size=MAX_ARGUMENTS).filter(
    lambda arguments: len(encode(arguments)) <= MAX_REQUEST_BYTES
)
short_lists = st.lists(st.binary(max_size=20), max_size=MAX_ARGUMENTS)


@settings(deadline=None)
@given(argument_lists)
def test_parsing_undoes_encoding(arguments: list[bytes]) -> None:
    """Parsing an encoded request returns its arguments."""
    assert feed_whole(encode(arguments)) == ParseOutcome([arguments])


@settings(deadline=None)
@given(short_lists)
def test_no_part_is_a_request(arguments: list[bytes]) -> None:
    """No proper prefix of a request is a request or an error."""
    data = encode(arguments)
    assert all(parse_request(data[:size]) is None for size in range(len(data)))


def assert_same_however_fed(data: bytes) -> None:
    """Assert that bytes give the same result whole and one by one."""
    assert feed_whole(data) == feed_bytewise(data)


TOKENS = [
    *(b"*", b"$", b":", b"-", b"0", b"1", b"2", b"4", b"16", b"4096", b"*1\r\n", b"$4\r\n"),
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b'"', b"'", b"\\", b"\\x", b"\0", b"\xff", b"x" * 1000),
    *(PING, b"PING", b"GET", b"HTTP/1.1", b"post", b"host:"),
]


@settings(deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
@example(b'PING "abc\r\n')
@example(b"x" * 4095 + b"\r\n")
@example(b"x" * 4096 + b"\r\n")
def test_any_bytes_as_request(data: bytes) -> None:
    """Any bytes are parsed or raise `ProtocolError`, with the same result however split."""
    assert_same_however_fed(data)


@settings(deadline=None)
@given(
    requests=st.lists(short_lists, min_size=1, max_size=3),
    position=st.integers(0, 400),
    removed=st.integers(0, 4),
    inserted=st.binary(max_size=3) | st.sampled_from(TOKENS),
)
def test_damaged_requests(
    requests: list[list[bytes]], position: int, removed: int, inserted: bytes
) -> None:
    """Requests with some bytes changed are parsed or raise `ProtocolError`."""
    data = b"".join(map(encode, requests))
    position %= len(data)
    assert_same_however_fed(data[:position] + inserted + data[position + removed :])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"abc", "'abc'"),
        (b"", "''"),
        (b"a\r\nb\tc\0d\x7f", "'a  b c d '"),
        (b"\xff\xc3\xa9", r"'\xff\xc3\xa9'"),
        (b"x" * 5000, f"'{'x' * QUOTED_BYTES}'"),
        (b"\xff" * 5000, "'" + r"\xff" * (QUOTED_BYTES // 4) + "'"),
    ],
)
def test_client_text_is_made_printable(text: bytes, shown: str) -> None:
    """A client's text is quoted, shortened and made printable on one line."""
    assert printable(text) == shown


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_anything_is_made_printable(text: bytes) -> None:
    """Any text becomes printable ASCII."""
    shown = printable(text)
    assert shown.isascii()
    assert shown.isprintable()
