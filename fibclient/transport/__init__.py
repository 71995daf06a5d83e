"""Delivery of requests: connection pool, retries and hedging."""
