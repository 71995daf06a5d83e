"""Measurements: readings of running servers, load generation and latencies."""
