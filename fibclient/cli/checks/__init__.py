"""What `doctor` and `verify` check."""
