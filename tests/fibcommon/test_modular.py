"""Residues of Fibonacci numbers and of digits, and random primes."""

from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon import modular
from fibcommon.bounds import OutOfBounds
from fibcommon.modular import (
    PRIME,
    append_bytes,
    append_digits,
    fibonacci_mod,
    fibonacci_pair,
    random_prime,
    reduced_index,
    residue,
)
from tests.support.expected import fibonacci


def test_fast_doubling_agrees_with_additions() -> None:
    """The recurrence and fast doubling return the same residues."""
    numbers = fibonacci(0, 1001)
    for n in range(1000):
        assert fibonacci_pair(n) == (numbers[n] % PRIME, numbers[n + 1] % PRIME)


def test_fast_doubling_of_a_large_index() -> None:
    """Residues are right for numbers of thousands of digits."""
    this, following = fibonacci(20_000, 20_002)
    assert fibonacci_pair(20_000) == (this % PRIME, following % PRIME)


@settings(deadline=None)
@given(pieces=st.lists(st.text("0123456789", min_size=1, max_size=50), min_size=1))
def test_digits_in_pieces(pieces: list[str]) -> None:
    """The residue of digits does not depend on how they are split."""
    residue = 0
    for piece in pieces:
        residue = append_digits(residue, piece.encode())
    assert residue == int("".join(pieces)) % PRIME


@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=50)))
def test_bytes_in_pieces(pieces: list[bytes]) -> None:
    """The residue of bytes does not depend on how they are split."""
    residue = position = 0
    for piece in pieces:
        residue = append_bytes(residue, position, piece)
        position += len(piece)
    assert residue == int.from_bytes(b"".join(pieces), "little") % PRIME


@pytest.mark.parametrize("size", [10_000, 300_000])
def test_many_digits(size: int) -> None:
    """More digits are accepted than Python converts to an int."""
    assert append_digits(0, b"9" * size) == (pow(10, size, PRIME) - 1) % PRIME


@settings(deadline=None)
@given(st.integers(0, 10**60), st.integers(0, 2**32))
def test_residues_of_numbers(value: int, seed: int) -> None:
    """`int` and `Decimal` have the same residues, and fast doubling uses any prime."""
    prime = random_prime(Random(seed))
    assert residue(value, prime) == residue(Decimal(value), prime) == value % prime
    this, following = fibonacci(300, 302)
    assert fibonacci_pair(300, prime) == (this % prime, following % prime)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_random_primes(seed: int) -> None:
    """Random primes have 18 digits, fit in a machine word, and pass Fermat's test."""
    prime = random_prime(Random(seed))
    assert 10**17 < prime < 2**60
    assert all(pow(base, prime - 1, prime) == 1 for base in range(2, 60))
    assert all(prime % small for small in range(3, 1000, 2))


@pytest.mark.parametrize(
    ("number", "is_prime"),
    [(10**18 - 11, True), (2**61 - 1, True), (10**18 - 9, False), (3215031751, False)],
)
def test_known_primes(number: int, is_prime: bool) -> None:
    """Known primes are found, and a pseudoprime to the bases 2, 3, 5 and 7 is not one."""
    assert modular._is_prime(number) == is_prime


def three_multiplications(n: int, modulus: int) -> int:
    """Return F(n) mod m by the usual formulas of fast doubling."""
    this, following = 0, 1
    for bit in f"{n:b}":
        this, following = (
            this * (2 * following - this) % modulus,
            (this * this + following * following) % modulus,
        )
        if bit == "1":
            this, following = following, (this + following) % modulus
    return this % modulus


def test_small_moduli() -> None:
    """The residues of the first numbers are right for all small moduli."""
    numbers = fibonacci(0, 300)
    for modulus in range(1, 60):
        for n, number in enumerate(numbers):
            assert fibonacci_pair(n, modulus)[0] == fibonacci_mod(n, modulus) == number % modulus


@settings(deadline=None)
@given(
    n=st.integers(0, 10**30) | st.integers(0, 10**200) | st.just(10**1000 - 1),
    modulus=st.integers(1, 10**6) | st.integers(1, 10**60) | st.integers(1, 10**150),
)
def test_any_modulus(n: int, modulus: int) -> None:
    """Two squarings a step give the same as three multiplications."""
    assert fibonacci_mod(n, modulus) == three_multiplications(n, modulus)


@pytest.mark.parametrize("modulus", [*range(1, 700), 5**10, 2**20 * 3**9, 499**3, 503 * 509])
def test_an_index_is_reduced_by_a_multiple_of_the_period(modulus: int) -> None:
    """F(n) is the same for the reduced index, and so for the next one, hence for all."""
    n = 10**999 + 7
    reduced = reduced_index(n, modulus)
    assert fibonacci_pair(reduced, modulus) == fibonacci_pair(n, modulus)
    assert reduced < n or modulus == 503 * 509  # which has two prime factors that are not small


@settings(deadline=None)
@given(n=st.integers(0, 10**300), small=st.integers(1, 10**9), seed=st.integers(0, 2**32))
def test_reduction_by_a_large_prime(n: int, small: int, seed: int) -> None:
    """One prime factor may be large."""
    modulus = small * random_prime(Random(seed))
    assert fibonacci_pair(reduced_index(n, modulus), modulus) == fibonacci_pair(n, modulus)


def test_known_periods() -> None:
    """The last three digits repeat after 1,500 numbers, and residues modulo 10^9 + 7 too."""
    assert reduced_index(1500 * 10**30 + 1, 1000) == 1
    assert reduced_index(2 * (10**9 + 8) * 10**30 + 1, 10**9 + 7) == 1
    assert reduced_index(10**30, 2**513) == 10**30
    assert reduced_index(10**30, (2**61 - 1) ** 2) == 10**30
    assert reduced_index(5, 7) == 5


def test_the_largest_arguments() -> None:
    """The bounds themselves are accepted; F(n) is periodic modulo a Fibonacci number."""
    n, modulus = 10**1000 - 1, fibonacci(4700, 4701)[0]
    assert fibonacci_mod(n, modulus) == fibonacci_mod(n % (2 * 4700), modulus)
    assert 0 <= fibonacci_mod(10**20, 10**1000 - 1) < 10**1000


@pytest.mark.parametrize(
    ("n", "modulus", "message"),
    [
        (-1, 5, "n must be at least 0 and below 10"),
        (10**1000, 5, "n must be at least 0 and below 10"),
        (5, 0, "m must be at least 1 and below 10.1000, not 0"),
        (5, 10**1000, "m must be at least 1 and below 10"),
    ],
)
def test_bounds(n: int, modulus: int, message: str) -> None:
    """Arguments outside their ranges are errors that name them."""
    with pytest.raises(OutOfBounds, match=message):
        fibonacci_mod(n, modulus)
