"""Client library for fibserver.

from fibclient import FibClient

with FibClient("127.0.0.1:11235") as fib:
    fib.first(10)                 # [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    fib.read(0, 1000, "json")     # bytes
"""

from fibclient.cancellation import Cancellation
from fibclient.client import FibClient, Limits
from fibclient.errors import (
    CallCancelled,
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    FibError,
    NotFibserver,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
)
from fibclient.statistics import CacheStatistics, ClientStatistics, EndpointStatistics

__all__ = [
    "CacheStatistics",
    "CallCancelled",
    "Cancellation",
    "ClientClosed",
    "ClientStatistics",
    "ConnectionLost",
    "DeadlineExceeded",
    "EndpointStatistics",
    "FibClient",
    "FibError",
    "Limits",
    "NotFibserver",
    "RequestRefused",
    "ServerMisbehaved",
    "ServerUnreachable",
]
