"""fibserver: an RPC server for the first N Fibonacci numbers."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("fibservice")
