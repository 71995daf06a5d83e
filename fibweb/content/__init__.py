"""Response bodies, from memory or fetched in pieces."""
