"""The `fibclient` command: Fibonacci numbers on the command line, and diagnostics of fibservers.

`session` holds the options before the command's name, `exit_codes` converts failures and signals
to exit codes, `options` defines parameter types, `terminal` prepares the standard streams and
`keys` reads key presses. `commands` has a module for each command (`first`, `range` and `number`
are in `numbers`), which build on `checks`, `measuring` and `render`.
"""

import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main(prog_name: str = "fibclient") -> NoReturn:
    """Run the command and exit; Ctrl-C prints no traceback, even during the imports."""
    try:
        from fibclient.cli.main import run

        run(prog_name)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # From here on, Ctrl-C ends the interpreter's shutdown without a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
