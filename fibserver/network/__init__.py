"""Client connections with their requests and output, and the HTTP server for metrics."""
