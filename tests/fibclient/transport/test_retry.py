"""Retry policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.errors import (
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from fibclient.transport.retry import Backoff, RetryBudget, is_retryable


def test_pauses_double_up_to_a_cap() -> None:
    """The longest delay doubles with each failure, up to the cap."""
    backoff = Backoff(base_seconds=0.05, cap_seconds=2.0)
    pauses = [backoff.pause_seconds(failures, 1.0) for failures in range(1, 9)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert backoff.pause_seconds(10**9, 1.0) == 2.0


@given(st.integers(1, 100), st.floats(0, 1))
def test_pauses_are_spread_over_their_whole_range(failures: int, share: float) -> None:
    """Full jitter: a delay is between 0 and the longest."""
    backoff = Backoff(0.05, 2.0)
    longest = backoff.pause_seconds(failures, 1.0)
    assert backoff.pause_seconds(failures, share) == pytest.approx(share * longest)


def test_an_outage_is_not_multiplied() -> None:
    """If every request fails, the budget is used up, and then allows a few retries a second."""
    budget = RetryBudget(now=0.0)
    assert sum(budget.spend(0.0) for _ in range(10_000)) == 100
    assert sum(budget.spend(second) for second in range(1, 11) for _ in range(1000)) == 100


def test_success_earns_retries() -> None:
    """Ten successful requests earn a retry, up to the capacity."""
    budget = RetryBudget(now=0.0)
    assert sum(budget.spend(0.0) for _ in range(200)) == 100
    for _ in range(10):
        budget.earn()
    assert budget.spend(0.0)
    assert not budget.spend(0.0)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend(0.0) for _ in range(200)) == 100


@pytest.mark.parametrize(
    ("error", "alone", "with_others"),
    [
        (RequestRefused("BUSY later"), True, True),
        (RequestRefused("NOSPACE /dev/shm is full"), True, True),
        (RequestRefused("SHUTDOWN"), True, True),
        (RequestRefused("ERR max number of clients reached"), True, True),
        (RequestRefused("LIMIT too large"), False, False),
        (RequestRefused("ERR unknown command"), False, False),
        (RequestRefused("NOAUTH Authentication required."), False, False),
        (RequestRefused("WRONGPASS no"), False, False),
        (ServerUnreachable("refused"), True, True),
        (ConnectionLost("reset"), True, True),
        (DeadlineExceeded("too late"), False, False),
        (ServerMisbehaved("HTTP"), False, True),
        (ClientClosed("closed"), False, False),
    ],
)
def test_temporary_failures_are_retried(error: FibError, alone: bool, with_others: bool) -> None:
    """Temporary failures are retried; invalid replies only if another server is available."""
    assert is_retryable(error, has_others=False) == alone
    assert is_retryable(error, has_others=True) == with_others
