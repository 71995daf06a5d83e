"""The processes: one that serves, their supervisor, and the embedded fibserver."""
