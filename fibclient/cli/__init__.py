"""The `fibclient` command: diagnostics of fibservers, for people and for programs.

Each command is in the module of its name (`first`, `range` and `number` in `numbers`), beside
what is only its own. They share `session` (what was said before the command's name, and how
failures become exit codes), `direct` (one connection, with no pool in between), and `units`,
`progress` and `latency` for what people read.
"""

from fibclient.cli.session import main

__all__ = ["main"]
