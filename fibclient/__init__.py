"""Client library for fibserver.

from fibclient import FibClient

with FibClient("127.0.0.1:11235") as fib:
    fib.first(10)                 # [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    fib.read(0, 1000, "json")     # bytes
"""

from fibclient.cancellation import Cancellation, Interruptible
from fibclient.client import FibClient
from fibclient.connections.encoded_slice import EncodedSlice, SliceRequest
from fibclient.document import Document
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
    SocketShortage,
)
from fibclient.single_numbers import NumberDigits, NumberIndex
from fibclient.statistics import CacheStatistics, ClientStatistics, EndpointStatistics
from fibclient.transport.resolver import ResolverCache, resolve
from fibcommon import __version__
from fibcommon.addresses import Address, ResolvedAddress
from fibcommon.limits import Limits

__all__ = [
    "Address",
    "CacheStatistics",
    "CallCancelled",
    "Cancellation",
    "ClientClosed",
    "ClientStatistics",
    "ConnectionLost",
    "DeadlineExceeded",
    "Document",
    "EncodedSlice",
    "EndpointStatistics",
    "FibClient",
    "FibError",
    "Interruptible",
    "Limits",
    "NotFibserver",
    "NumberDigits",
    "NumberIndex",
    "RequestRefused",
    "ResolvedAddress",
    "ResolverCache",
    "ServerMisbehaved",
    "ServerUnreachable",
    "SliceRequest",
    "SocketShortage",
    "__version__",
    "resolve",
]
