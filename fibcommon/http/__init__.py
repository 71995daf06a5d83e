"""Rules of HTTP that both services follow, without a socket."""
