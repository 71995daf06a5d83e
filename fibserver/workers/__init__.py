"""Worker processes and the pool that runs them."""
