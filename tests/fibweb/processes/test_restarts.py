"""Restart policy: backoff and its reset."""

from fibweb.processes.restarts import MAX_PAUSE_SECONDS, STEADY_SECONDS, RestartPlan


def pauses(lifetimes: list[float]) -> list[float]:
    """Return the pause after each of consecutive runs."""
    plan, now, found = RestartPlan(), 1000.0, []
    assert plan.due_at < now
    for lifetime in lifetimes:
        plan.started(now)
        now += lifetime
        plan.ended(now)
        found.append(round(plan.due_at - now, 6))
        now = plan.due_at
    return found


def test_the_first_is_replaced_at_once() -> None:
    """A first failure, and every failure after a long run, has no pause."""
    assert pauses([STEADY_SECONDS] * 5) == [0.0] * 5
    assert pauses([0.1]) == [0.0]


def test_restart_delay_grows_to_maximum() -> None:
    """The pauses between consecutive failures grow up to a maximum."""
    found = pauses([0.0] * 100)
    assert found[:4] == [0.0, 0.1, 0.2, 0.4]
    assert found == sorted(found)
    assert found[-1] == MAX_PAUSE_SECONDS


def test_long_run_resets_backoff() -> None:
    """A long run resets the backoff."""
    assert pauses([0.0, 0.0, 0.0, STEADY_SECONDS, 0.0, 0.0]) == [0.0, 0.1, 0.2, 0.0, 0.0, 0.1]
