"""RFC 9110 and 9457 without a socket."""
