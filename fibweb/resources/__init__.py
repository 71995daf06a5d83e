"""Falcon resources, one file for each kind."""
