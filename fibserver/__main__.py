"""Entry point of `fibserver` and of `python -m fibserver`."""

import sys

from fibcommon.extras import MissingExtra, extra

__all__ = ["main"]


def main() -> None:
    """Run the command; without its libraries, print which extra has them."""
    try:
        with extra("fibserver", "server", "click", "numpy", "prometheus-client", "psutil"):
            from fibserver.cli import main as command

            command(prog_name="fibserver")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
