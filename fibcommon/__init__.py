"""Code shared by server, client and web service: formats, sizes, addresses, service set-up."""
