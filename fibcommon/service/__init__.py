"""Common parts of the two services: log, listening sockets, signals, limits, systemd.

fibserver and fibweb both use it; neither imports the other. The client library does not use it.
"""
