"""Settings from files, environment variables and options, and passwords from files."""
