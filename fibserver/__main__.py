"""Entry point of `python -m fibserver`."""

from fibserver.cli import main

main(prog_name="fibserver")
