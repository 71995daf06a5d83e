"""HTTP rules of both services, as pure functions."""
