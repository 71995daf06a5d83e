"""REST service for Fibonacci numbers, in front of fibserver."""

from fibweb.app import create_app

__all__ = ["create_app"]
