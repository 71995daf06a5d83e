"""What server, client and web service share: numbers, addresses, and parts of services."""
