"""fibweb: the REST service in front of fibserver."""

from fibweb.app import create_app

__all__ = ["create_app"]
