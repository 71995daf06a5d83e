"""Tests of the slow log: what it keeps of a request, and how many entries."""

import pytest

from fibserver.monitoring.slow_log import MAX_ENTRIES, MAX_WORD_BYTES, SlowLog, SlowRequest

PING = [b"PING"]


def test_slow_log_entry() -> None:
    """An entry holds time, duration, request, address and name."""
    slow_log = SlowLog()
    slow_log.add(1_700_000_000.9, 0.0123456, [b"FIB.FIRST", b"10"], "127.0.0.1:50000", "me")
    assert list(slow_log.entries) == [
        SlowRequest(0, 1_700_000_000, 12_345, [b"FIB.FIRST", b"10"], "127.0.0.1:50000", "me")
    ]


def test_the_newest_come_first_and_the_oldest_go() -> None:
    """A full log drops its oldest entry; the numbering continues."""
    slow_log = SlowLog()
    for _ in range(MAX_ENTRIES + 5):
        slow_log.add(0, 1, PING, "", "")
    assert [entry.number for entry in slow_log.entries] == list(range(MAX_ENTRIES + 4, 4, -1))


def test_numbers_are_never_used_again() -> None:
    """Clearing the log does not restart the numbering."""
    slow_log = SlowLog()
    slow_log.add(0, 1, PING, "", "")
    slow_log.clear()
    assert not slow_log.entries
    slow_log.add(0, 1, PING, "", "")
    assert [entry.number for entry in slow_log.entries] == [1]


def test_long_words_are_cut() -> None:
    """Only arguments longer than the limit are truncated."""
    slow_log = SlowLog()
    words = [b"ECHO", b"x" * (MAX_WORD_BYTES - 1), b"y" * MAX_WORD_BYTES, b"z" * 4000]
    slow_log.add(0, 1, words, "", "")
    assert slow_log.entries[0].words == [*words[:3], b"z" * MAX_WORD_BYTES]
    assert words[3] == b"z" * 4000, "the request itself is not touched"


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([b"AUTH", b"secret"], [b"AUTH", b"(redacted)"]),
        ([b"auth", b"default", b"secret"], [b"auth", b"(redacted)"]),
        ([b"HELLO", b"3", b"AUTH", b"default", b"secret"], [b"HELLO", b"(redacted)"]),
        ([b"HELLO"], [b"HELLO"]),
        ([b"ECHO", b"AUTH", b"secret"], [b"ECHO", b"AUTH", b"secret"]),
    ],
)
def test_passwords_are_left_out(words: list[bytes], kept: list[bytes]) -> None:
    """The arguments of commands that can contain a password are redacted."""
    slow_log = SlowLog()
    slow_log.add(0, 1, words, "", "")
    assert slow_log.entries[0].words == kept
