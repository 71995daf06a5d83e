"""The `fibclient` command: Fibonacci numbers on the command line, and diagnostics of fibservers.

`main` has the group of commands and the session that they get. `global_options` are allowed before
and after a command's name, with defaults from `settings_file`; `options` defines parameter types.
`exit_codes` converts failures and signals to exit codes, and `messages` prints them. `terminal`
prepares the standard streams, and `live_screen` is a full-screen view with keys. `commands` has a
module for each command, or for several of a kind, which build on `checks`, `measuring` and
`render`.
"""

import signal
import sys
from typing import NoReturn

from fibcommon.extras import MissingExtra, extra

__all__ = ["main"]


def main(prog_name: str = "fibclient") -> NoReturn:
    """Run the command and exit; Ctrl-C prints no traceback, even during the imports.

    Without its libraries, print which extra has them.
    """
    try:
        with extra("fibclient", "cli", "click", "rich"):
            from fibclient.cli.main import run

            run(prog_name)
    except MissingExtra as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # From here on, Ctrl-C ends the interpreter's shutdown without a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
