"""Connections to servers: endpoints, sockets and the wire protocol."""
