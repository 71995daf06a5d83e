"""What the server reports about itself: INFO, metrics, the slow log."""
