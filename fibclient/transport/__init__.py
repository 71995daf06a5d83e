"""Delivery of requests: connection pool, load balancing, retries and hedging."""
