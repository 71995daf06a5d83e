"""The bytes of an answer, in memory or a piece at a time."""
