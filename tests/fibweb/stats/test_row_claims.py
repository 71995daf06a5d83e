"""Tests for claims on rows."""

import os
import signal

from fibweb.stats.row_claims import RowClaims
from tests.support.waiting import wait_until


def owner_in_a_child(claims: RowClaims) -> tuple[int, int]:
    """Fork a process that claims a row and waits; return its id and the row."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        row = claims.claim()
        os.write(write, b"%d" % (99 if row is None else row))
        signal.pause()
    os.close(write)
    row = int(os.read(read, 10))
    os.close(read)
    return pid, row


def end(pid: int) -> None:
    """Kill a process."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_each_process_claims_its_own_row() -> None:
    """Processes claim different rows, and none when all are taken."""
    claims = RowClaims(2)
    children = [owner_in_a_child(claims) for _ in range(2)]
    assert [row for _, row in children] == [0, 1]
    assert claims.claim() is None
    for pid, _ in children:
        end(pid)


def test_row_of_killed_process_can_be_claimed() -> None:
    """The row of a killed process can be claimed again."""
    claims = RowClaims(2)
    first, _ = owner_in_a_child(claims)
    second, _ = owner_in_a_child(claims)
    end(first)
    third, row = owner_in_a_child(claims)
    assert row == 0
    end(second)
    end(third)


def test_row_without_owner_can_be_held() -> None:
    """A row without an owner can be held, and is free again afterwards."""
    claims = RowClaims(2)
    pid, row = owner_in_a_child(claims)
    with claims.held(row) as is_held:
        assert not is_held
    end(pid)
    with claims.held(row) as is_held:
        assert is_held
        pid, other = owner_in_a_child(claims)
        assert other == 1
        end(pid)
    wait_until(lambda: claims.claim() == 0, "the row is free")
