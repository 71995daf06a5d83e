"""Addresses."""

import pytest

from fibcommon.addresses import (
    Address,
    parse_address,
    parse_addresses,
    parse_server,
    plain_host,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:11235", Address("127.0.0.1", 11235)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("unix:/run/fib/fibserver.sock", Address(path="/run/fib/fibserver.sock")),
    ],
)
def test_address_round_trip(text: str, address: Address) -> None:
    """An address is parsed, and its text form is the same again."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "localhost", ":80", "a:", "a:x", "a:-1", "a:65536", "a:1٣", "::1:80", "[::1]", "unix:x"],
)
def test_error_quotes_invalid_address(text: str) -> None:
    """The error for an invalid address quotes the text."""
    with pytest.raises(ValueError, match="address"):
        parse_address(text)


def test_srv_name_is_for_clients_only() -> None:
    """`srv:NAME` is valid for a client, but not for a listener."""
    text = "srv:_fibserver._tcp.example.org"
    address = Address(service="_fibserver._tcp.example.org")
    assert parse_addresses(f"a:1, {text},a:1") == [Address("a", 1), address]
    assert str(address) == text
    with pytest.raises(ValueError, match="neither HOST:PORT nor unix:/path"):
        parse_address(text)
    for bad in ("srv:", "srv:example.org", "srv:_fibserver"):
        with pytest.raises(ValueError, match="requires a name such as"):
            parse_server(bad)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a.example", Address("a.example", 11235)),
        ("192.0.2.1", Address("192.0.2.1", 11235)),
        ("[::1]", Address("::1", 11235)),
        ("[::1]:1", Address("::1", 1)),
        ("a.example:1", Address("a.example", 1)),
        ("unix:/run/fib", Address(path="/run/fib")),
        ("srv:_fib._tcp.example", Address(service="_fib._tcp.example")),
    ],
)
def test_server_has_default_port(text: str, address: Address) -> None:
    """A server without a port has the default one; other forms are unchanged."""
    assert parse_server(text) == address


@pytest.mark.parametrize(
    "text", ["", "a:", "::1", "::1:80", "11235", ":80", "[::1", "a/b", "a b", "/run/fib", "unix:x"]
)
def test_default_port_needs_a_host(text: str) -> None:
    """Text that is no host, or may be one with a port, gets no default port."""
    with pytest.raises(ValueError, match="address"):
        parse_server(text)


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:1", "::ffff:1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_mapped_address_becomes_ipv4(host: str, plain: str) -> None:
    """An IPv4-mapped address is converted to IPv4."""
    assert plain_host(host) == plain


@pytest.mark.parametrize("text", ["x:" * 5_000, f"unix:{'x' * 10_000}", f"srv:{'x' * 10_000}"])
def test_long_text_is_cut(text: str) -> None:
    """The error quotes only the beginning of a long text."""
    with pytest.raises(ValueError, match=r"^address '") as caught:
        parse_server(text)
    assert len(str(caught.value)) < 200
