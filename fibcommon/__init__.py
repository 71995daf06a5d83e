"""Code shared by server, client and web service: formats, sizes, addresses, service set-up."""

__all__ = ["__version__"]

__version__ = "1.0.0"
"""Version of the distribution. setup.cfg reads it here: importlib.metadata takes 40 ms."""
