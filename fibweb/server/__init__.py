"""The HTTP server: three lanes on waitress, from the quickest to the one that may wait.

*replay*: the very bytes of a request seen before lead to its ready answer. *ready*: the answer is
in memory, so it is given on the event loop. *ask*: a fibserver must be asked, by a thread.
"""
