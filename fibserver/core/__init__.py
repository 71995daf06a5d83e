"""Event loop, fair queue, limits on clients and statistics of the acceptor."""
