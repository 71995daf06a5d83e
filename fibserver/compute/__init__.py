"""The numbers: arithmetic, many at once, and their encoding."""
