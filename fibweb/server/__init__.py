"""HTTP server with the parser of waitress and three ways to handle a request, the fastest first.

*cached*: the bytes of the request are the key of a stored response. *inline*: the application
runs on the event loop, with its data in memory. *threaded*: a thread first fetches from a
fibserver.
"""
