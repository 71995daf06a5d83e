"""Samples of a running server, and load with its latencies."""
