"""Measurements: samples of running servers, load generation and latencies."""
