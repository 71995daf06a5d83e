"""Overload protection: bounds on connections, queued fetches and memory."""
