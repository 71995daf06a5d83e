"""The event loop, the fair queue, limits and counters."""
