"""Entry point of `python -m fibclient`."""

from fibclient.cli import main

main(prog_name="fibclient")
