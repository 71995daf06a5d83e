"""Parsing of replies to INFO."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient import FibClient
from fibcommon.info import parse_fields, parse_info
from tests.support.servers import RunningServer


def test_info_values_by_section() -> None:
    """Values are returned by section and name; other lines are ignored."""
    text = (
        "# Server\r\nversion:1\r\npath:unix:/run\r\n\r\n# Errorstats\r\n# CPU\nempty:\nrubbish\n"
    )
    assert parse_info(text) == {
        "server": {"version": "1", "path": "unix:/run"},
        "errorstats": {},
        "cpu": {"empty": ""},
    }


def test_values_before_first_heading() -> None:
    """Values before the first heading are in a section without a name; "" has no section."""
    assert parse_info("a:1\n# B\nc:2") == {"": {"a": "1"}, "b": {"c": "2"}}
    assert parse_info("") == {}


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    """Any text is accepted, and all results occur in it."""
    for section, values in parse_info(text).items():
        assert section in text.lower()
        assert all(f"{name}:{value}" in text for name, value in values.items())


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("calls=3,usec=12", {"calls": "3", "usec": "12"}),
        ("count=1", {"count": "1"}),
        ("p50=", {"p50": ""}),
        ("5508,5509", {}),
        ("7.0.15", {}),
        ("a=1,b", {}),
        ("=1", {}),
        ("", {}),
    ],
)
def test_fields_of_a_value(value: str, fields: dict[str, str]) -> None:
    """A value of `name=value` parts is split, any other is not."""
    assert parse_fields(value) == fields


def test_info_of_a_server(server: RunningServer) -> None:
    """The client returns the text unchanged, and its values by name."""
    with FibClient(server.address) as client:
        sections = parse_info(client.info_text())
        assert sections["server"]["tcp_port"] == str(server.port)
        assert list(client.info("server")) == list(sections["server"])
        assert set(sections["memory"]) < set(client.info())
        assert client.info_text("nonsense") == ""
