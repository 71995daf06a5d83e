"""Connections to servers: endpoint, socket and the wire protocol."""
