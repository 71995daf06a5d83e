"""What every long-running process of this product does alike.

Settings and where they come from, the log, listening sockets, and what is said to systemd. It is
here because both services may import fibclient and neither the other; the library does not use it.
"""
