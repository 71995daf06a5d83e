"""A fuzzer for fibserver: in the suite for seconds, and as `python -m tests.fuzz` for hours.

    corpus/ ──> mutation ──> harness ──> a real Connection between a fake socket and the
    seeds       inputs       judges      real engine, whose workers the harness plays

`harness` says what must hold for every input, `fakes` is all that surrounds the connection,
`reply_parser` reads what it answers, and `live` does the same to a real server.
"""
