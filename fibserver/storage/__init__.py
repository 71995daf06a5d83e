"""Snapshot of resident blocks on disk."""
