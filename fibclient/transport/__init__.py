"""From a call to its reply: retries, hedging, and the pool that lends connections."""
