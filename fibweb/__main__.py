"""`python -m fibweb` is the `fibweb` command."""

from fibweb.cli import main

main(prog_name="fibweb")
