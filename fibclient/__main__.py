"""`python -m fibclient` is the `fibclient` command."""

from fibclient.cli import main

main(prog_name="fibclient")
