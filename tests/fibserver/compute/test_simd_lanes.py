"""Tests of lanes against additions of ints, and of numpy's effect on forking."""

import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibserver.compute.simd_lanes import Lanes, Pair
from tests.support.servers import DEADLINE_SECONDS


def sequence(first: int, second: int, count: int) -> list[int]:
    """Return a sequence in which each number is the sum of the two before."""
    numbers = [first, second]
    while len(numbers) < count:
        numbers.append(numbers[-2] + numbers[-1])
    return numbers


def pairs_of(numbers: list[int], firsts: range) -> list[Pair]:
    """Return pairs of consecutive numbers, starting at the given indices."""
    return [(Decimal(numbers[n]), Decimal(numbers[n + 1])) for n in firsts]


def check(numbers: list[int], count: int, length: int, steps_at_once: int) -> None:
    """Assert that lanes give the same numbers as `numbers`, and that they are consistent."""
    end = count * length
    max_digits = len(str(numbers[end + 1]))
    pairs = pairs_of(numbers, range(0, end, length))
    lanes = Lanes(pairs, max_digits, steps_at_once)
    found: list[list[str]] = [[] for _ in range(count)]
    for done in range(0, length, steps_at_once):
        steps = min(steps_at_once, length - done)
        for lane, values in zip(found, lanes.advance(steps), strict=True):
            assert len(values) == steps
            lane.extend(str(value, "ascii") for value in values)
    want = list(map(str, numbers))
    assert found == [want[first : first + length] for first in range(0, end, length)]
    (pair,) = pairs_of(numbers, range(end, end + 1))
    assert lanes.are_consistent
    assert lanes.last_pair == pair


@settings(deadline=None)
@given(
    st.integers(0, 10**60),
    st.fractions(1, 2),
    st.integers(1, 5),
    st.integers(1, 30),
    st.integers(1, 7),
)
def test_lanes_add(
    first: int, ratio: Fraction, count: int, length: int, steps_at_once: int
) -> None:
    """Lanes work from any pair whose second number is one to two times the first."""
    second = max(1, int(first * ratio))
    check(sequence(first, second, count * length + 2), count, length, steps_at_once)


@pytest.mark.parametrize("words", [1, 2, 3, 50, 1000])
@pytest.mark.parametrize("top", ["", "1", "49", "4999", "12344999"])
def test_a_carry_through_many_words(words: int, top: str) -> None:
    """A carry propagates through words of 9999 to the next other word."""
    first = int(top + "4999" * words + "6000")
    second = int(str(int(top) + 1 if top else "") + "5000" * words + "6000")
    numbers = sequence(first, second, 20)
    assert str(numbers[2]).endswith("0000" * words + "2000"), (
        "wrong example: the carry does not propagate"
    )
    check(numbers, 1, 12, 5)
    check(numbers, 3, 4, 5)


@pytest.mark.parametrize("digits", range(1, 14))
def test_growing_by_a_digit(digits: int) -> None:
    """A number that is one digit longer than the previous one is not cut."""
    check(sequence(10**digits - 2, 10**digits - 1, 30), 1, 28, 10)
    check(sequence(10**digits - 2, 10**digits - 1, 30), 4, 7, 10)
    check(sequence(10**digits - 1, 10**digits, 30), 7, 4, 1)


def test_too_large_a_number() -> None:
    """A number with too many digits is rejected."""
    with pytest.raises(OverflowError):
        Lanes([(Decimal(1), Decimal(10**20))], 4, 1)


@pytest.mark.parametrize("module", ["acceptor", "workers.worker", "compute.simd_lanes"])
def test_no_threads(module: str) -> None:
    """Importing the server starts no thread, because it forks workers."""
    code = f"import fibserver.{module}, sys; assert 'numpy' in sys.modules\n"
    code += "print(open('/proc/self/status').read())"
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert "\nThreads:\t1\n" in finished.stdout
