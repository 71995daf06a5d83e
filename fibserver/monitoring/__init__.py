"""Monitoring data: INFO sections, Prometheus metrics and the slow log."""
