"""What one client may cost the others: connections, the queue of fetches, memory."""
