"""Event loop, fair queue, overload policy and statistics of the acceptor."""
