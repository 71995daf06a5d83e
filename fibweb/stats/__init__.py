"""Metric values of all processes, and the access log."""
