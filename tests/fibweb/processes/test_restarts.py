"""When to start again what has ended."""

from fibweb.processes.restarts import MAX_PAUSE_SECONDS, STEADY_SECONDS, RestartPlan


def pauses(lifetimes: list[float]) -> list[float]:
    """Return the pause after each of some lives in a row."""
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
    """One that has lasted is replaced without a pause, however often that happens."""
    assert pauses([STEADY_SECONDS] * 5) == [0.0] * 5
    assert pauses([0.1]) == [0.0]


def test_pauses_grow() -> None:
    """What keeps dying is started ever less often, but never given up."""
    found = pauses([0.0] * 100)
    assert found[:4] == [0.0, 0.1, 0.2, 0.4]
    assert found == sorted(found)
    assert found[-1] == MAX_PAUSE_SECONDS


def test_one_that_lasts_makes_good() -> None:
    """After a long life the pauses begin anew."""
    assert pauses([0.0, 0.0, 0.0, STEADY_SECONDS, 0.0, 0.0]) == [0.0, 0.1, 0.2, 0.0, 0.0, 0.1]
