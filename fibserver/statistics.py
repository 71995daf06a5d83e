"""What the server counts about itself."""

from collections import Counter

__all__ = ["CommandStatistics", "Statistics"]


class CommandStatistics:
    """The figures of one command.

    Attributes:
        name: the command, in lower case.
        calls: how often it was run, without being refused.
    """

    __slots__ = ("calls", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0


class Statistics:
    """The figures of one server since its start.

    Attributes:
        commands: by name, in upper case.
        errors: error replies by code.
        connections_received: accepted, those refused for `max_clients` included.
        connections_rejected: refused for `max_clients`.
        bytes_received: from clients.
        bytes_sent: to clients.
        blocks_filled: by workers.
        blocks_failed: given up.
    """

    def __init__(self) -> None:
        self.commands: dict[str, CommandStatistics] = {}
        self.errors: Counter[str] = Counter()
        self.connections_received = 0
        self.connections_rejected = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.blocks_filled = 0
        self.blocks_failed = 0

    def command(self, name: str) -> CommandStatistics:
        """Return the figures of a command of the command table."""
        return self.commands.setdefault(name, CommandStatistics(name.lower()))
