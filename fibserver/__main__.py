"""`python -m fibserver` is the `fibserver` command."""

from fibserver.cli import main

main(prog_name="fibserver")
