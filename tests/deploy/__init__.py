"""The configurations in deploy/, run by the programs that they are for."""
