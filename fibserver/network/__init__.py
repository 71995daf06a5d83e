"""Clients: connections, their requests and their output, and the metrics port."""
