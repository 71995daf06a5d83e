"""Processes of fibweb: serving processes, their supervisor, and the embedded fibserver."""
