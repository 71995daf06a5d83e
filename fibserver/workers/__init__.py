"""Worker processes and their pool."""
