"""From a slice to its bytes: memory, workers and storage together."""
