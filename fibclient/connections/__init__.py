"""One connection to a server: endpoints, sockets, and the bytes of the protocol."""
