"""Addresses."""

import pytest

from fibclient.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:11235", Address("127.0.0.1", 11235)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("unix:/run/fib/fibserver.sock", Address(path="/run/fib/fibserver.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """An address is parsed, and printed as it was written."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "localhost", ":80", "a:", "a:x", "a:-1", "a:65536", "a:1٣", "::1:80", "[::1]", "unix:x"],
)
def test_bad_addresses(text: str) -> None:
    """What is no address is refused with the text itself."""
    with pytest.raises(ValueError, match="address"):
        parse_address(text)
