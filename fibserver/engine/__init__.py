"""Engine: memory, workers and snapshot that produce the bytes of slices."""
