"""Settings from files, variables and flags, and passwords from files."""
