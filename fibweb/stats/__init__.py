"""Counters and gauges of all processes, and the access log."""
