"""Writing and checking the file of one part.

A task holds all that is needed, so it can be sent to another process or machine. A part is
complete when the file beside it, `NAME.sha256`, holds its checksum: that is written when the part
is, and removed before the part is written again.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

from fibclient.cancellation import Cancellation, raise_if_cancelled
from fibclient.client import FibClient
from fibclient.export.manifest import PartRecord, checksum_line
from fibclient.export.parquet import write_parquet
from fibclient.export.plan import PlannedPart
from fibclient.export.stores import WritableFile, open_store

__all__ = ["CHECKSUM_SUFFIX", "CheckTask", "WriteTask", "check_part", "write_part"]

CHECKSUM_SUFFIX = ".sha256"

REQUEST_BYTES = 64 * 1024 * 1024
"""Size of a request: servers limit the size of a reply, and parts may be larger."""


def _ignore(size: int) -> None:
    """Report no progress."""


class WriteTask(NamedTuple):
    """A part to request and write.

    Attributes:
        url: URL of the folder.
        part: The part.
        servers: Comma-separated addresses.
        timeout_seconds: Timeout of each call.
        password: Password of the servers; None for none.
    """

    url: str
    part: PlannedPart
    servers: str
    timeout_seconds: float
    password: str | None


class CheckTask(NamedTuple):
    """A part to read and compare.

    Attributes:
        url: URL of the folder.
        record: The part as it was written.
    """

    url: str
    record: PartRecord


def write_part(
    task: WriteTask,
    advance: Callable[[int], None] = _ignore,
    cancellation: Cancellation | None = None,
) -> PartRecord:
    """Request a part, write its file, and write its checksum beside it.

    Args:
        task: The part.
        advance: Called with the number of bytes of each piece requested.
        cancellation: Ends the call when it is cancelled.

    Raises:
        FibError: A request failed.
        OSError: The file cannot be written.
        MissingExtra: A package is missing.
    """
    part, store = task.part, open_store(task.url)
    store.remove(part.name + CHECKSUM_SUFFIX)
    client = FibClient(
        task.servers,
        max_connections=1,
        timeout_seconds=task.timeout_seconds,
        cache_bytes=0,
        password=task.password,
    )
    with client, store.create(part.name, part.size or part.requested_size) as file:
        hashing = _HashingFile(file)
        for size in _write(hashing, part, client, cancellation):
            advance(size)
    record = PartRecord(part, hashing.size, hashing.sha256)
    line = checksum_line(record)
    with store.create(part.name + CHECKSUM_SUFFIX, len(line)) as file:
        file.write(line)
    return record


def check_part(
    task: CheckTask,
    advance: Callable[[int], None] = _ignore,
    cancellation: Cancellation | None = None,
) -> str | None:
    """Compare the contents of a part's file with its checksum.

    Args:
        task: The part.
        advance: Called with the number of bytes of each piece read.
        cancellation: Ends the call when it is cancelled.

    Returns:
        What is wrong, or None.

    Raises:
        OSError: The file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in open_store(task.url).chunks(task.record.part.name):
        raise_if_cancelled(cancellation)
        digest.update(chunk)
        size += len(chunk)
        advance(len(chunk))
    if size != task.record.size:
        return f"has {size:,} bytes instead of {task.record.size:,}"
    if digest.hexdigest() != task.record.sha256:
        return f"has the SHA-256 {digest.hexdigest()} instead of {task.record.sha256}"
    return None


class _HashingFile:
    """A file that computes the size and the checksum of what is written.

    It has what pyarrow requires of a file. The file beneath is closed by whoever opened it.
    """

    closed = False

    def __init__(self, file: WritableFile) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The checksum in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        """Append all of `data`."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self.size

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def _write(
    file: _HashingFile, part: PlannedPart, client: FibClient, cancellation: Cancellation | None
) -> Iterator[int]:
    """Write a part; yield the number of bytes requested for each piece, after it is written."""
    if part.format_name == "parquet":
        yield from write_parquet(file, part, client, cancellation)
        return
    file.write(part.opening)
    slice_ = part.slice
    for begin in range(0, slice_.size, REQUEST_BYTES):
        end = min(begin + REQUEST_BYTES, slice_.size)
        pieces = client.stream(
            slice_.start,
            slice_.stop,
            slice_.format.name,
            begin=begin,
            end=end,
            cancellation=cancellation,
        )
        with closing(pieces):
            for piece in pieces:
                file.write(piece)
                yield len(piece)
    file.write(part.closing)
