"""Fuzzer for fibserver: for seconds in the suite, and for hours as `python -m tests.fuzz`.

    corpus/ ──> mutation ──> harness ──> a real ClientConnection between a fake socket and the
    seeds       inputs       checks      real engine, whose workers the harness plays

`harness` has the requirements for every input, `fakes` the objects around the connection,
`reply_parser` parses the output, and `live` sends inputs to a real server.
"""
