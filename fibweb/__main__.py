"""Entry point of `fibweb` and of `python -m fibweb`."""

import sys

from fibcommon.extras import MissingExtra, extra
from fibweb import PACKAGES

__all__ = ["main"]


def main() -> None:
    """Run the command; without its libraries, print which extra has them."""
    try:
        with extra("fibweb", "web", *PACKAGES):
            from fibweb.cli import main as command

            command(prog_name="fibweb")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
