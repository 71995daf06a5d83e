"""Falcon resources, one module for each kind."""
