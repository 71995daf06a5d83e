"""Entry point of `python -m fibweb`, the same as the `fibweb` command."""

from fibweb.cli import main

main(prog_name="fibweb")
