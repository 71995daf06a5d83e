"""The shared-memory arena, and what is kept in it."""
