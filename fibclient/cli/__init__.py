"""The `fibclient` command: diagnostics of fibservers, for people and for programs.

Each command is in the module of its name (`first`, `range` and `number` in `numbers`), beside
what is only its own. They share `session` (what was said before the command's name), `endings`
(how failures and signals become exit codes), `streams` and `parameters` (where output goes, what
may be said), `direct` (one connection, with no pool in between), and `units`, `progress` and
`latency` for what people read.
"""

import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main(prog_name: str = "fibclient") -> NoReturn:
    """Run the command to its end; Ctrl-C is quiet while it is still being imported, too."""
    try:
        from fibclient.cli.session import run

        run(prog_name)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # All is said: what comes now is to end Python's own cleaning up, without a word.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
