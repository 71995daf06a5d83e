"""Computation of Fibonacci numbers and their rendering as elements."""
