"""Storage of an export: a local folder, or any URL that fsspec supports.

A file in a local folder appears under its name when it is complete. Object stores do the same; for
others, fsspec has no such promise. So whether a part is complete is decided by the checksum beside
it, which is written afterwards, and never by the existence of the part.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fibclient.export.optional import ExportError, optional

__all__ = ["Store", "WritableFile", "open_store", "resolved_url"]

READ_BYTES = 1024 * 1024

BLOCK_BYTES = 5 * 1024 * 1024
"""Least size of a piece of an upload: the minimum of S3, to keep little in memory."""

MAX_BLOCKS = 10_000
"""Maximum number of pieces of an upload to S3."""


class WritableFile(Protocol):
    """A file that is being written."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Append all of `data`."""


class Store(Protocol):
    """A folder of files. Failures raise `OSError` with the URL of the file."""

    def url(self, name: str) -> str:
        """Return the path or URL of a file, for messages."""

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all files in bytes, by name; empty if there is no folder."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the contents of a file in pieces of limited size."""

    def create(self, name: str, size: int) -> AbstractContextManager[WritableFile]:
        """Return a context that writes a file and replaces an older one.

        An exception in the context leaves no file behind.

        Args:
            name: Name of the file.
            size: Upper bound of its size in bytes, about.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


def open_store(url: str) -> Store:
    """Return the store at a local path or a URL.

    Raises:
        ExportError: The URL is invalid, or a package for it is missing.
        MissingExtra: fsspec is missing.
    """
    path = _local_path(url)
    return _FsspecStore(url) if path is None else _LocalStore(path)


def resolved_url(url: str) -> str:
    """Return a URL that means the same in a process with another working directory."""
    path = _local_path(url)
    return url if path is None else str(path.absolute())


def _local_path(url: str) -> Path | None:
    """Return the path of a local folder; None for any other URL."""
    if "://" not in url and "::" not in url:
        return Path(url)
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return None


class _LocalStore:
    """A folder of this machine, or one that several machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        return str(self._folder / name)

    def sizes(self) -> dict[str, int]:
        sizes = {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a temporary file, renamed meanwhile
                    if entry.is_file():
                        sizes[entry.name] = entry.stat().st_size
        return sizes

    def chunks(self, name: str) -> Iterator[bytes]:
        with (self._folder / name).open("rb") as file:
            while chunk := file.read(READ_BYTES):
                yield chunk

    @contextmanager
    def create(self, name: str, size: int) -> Iterator[WritableFile]:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        # Dask may run a task twice at the same time, so each writer has its own file.
        temporary = self._folder / f".{name}.{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:  # such as a full disk
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise
        # Remove what writers of this file left behind when they were killed.
        for leftover in self._folder.glob(f".{name}.*.tmp"):
            leftover.unlink(missing_ok=True)
        _sync_folder(self._folder)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _FsspecStore:
    """A folder of a file system of fsspec, such as a prefix in a bucket of S3."""

    def __init__(self, url: str) -> None:
        fsspec = optional("fsspec", "export", "an export to a URL")
        try:
            self._files, self._path = fsspec.core.url_to_fs(url)
        except ImportError as error:  # each protocol has its own package
            raise ExportError(f"{url}: {error}") from error
        except ValueError as error:
            raise ExportError(f"invalid URL {url}: {error}") from error
        self._url = url.rstrip("/")

    def url(self, name: str) -> str:
        return f"{self._url}/{name}"

    def sizes(self) -> dict[str, int]:
        with _plain_errors(self._url):
            self._files.invalidate_cache()
            try:
                entries = self._files.ls(self._path, detail=True)
            except FileNotFoundError:
                return {}
            return {
                entry["name"].rpartition("/")[2]: entry["size"]
                for entry in entries
                if entry["type"] == "file"
            }

    def chunks(self, name: str) -> Iterator[bytes]:
        with _plain_errors(self.url(name)):
            file = self._files.open(self._full(name), "rb", block_size=BLOCK_BYTES)
        with file:
            while True:
                with _plain_errors(self.url(name)):
                    chunk = file.read(READ_BYTES)
                if not chunk:
                    return
                yield chunk

    @contextmanager
    def create(self, name: str, size: int) -> Iterator[WritableFile]:
        path, url = self._full(name), self.url(name)
        # Stores such as Google's require multiples of 256 KiB.
        block = max(BLOCK_BYTES, -(-size // MAX_BLOCKS // READ_BYTES) * READ_BYTES)
        with _plain_errors(url):
            # Without parents: those of object stores are buckets, and a typo must not create one.
            with suppress(FileExistsError):
                self._files.mkdir(self._path, create_parents=False)
            file = self._files.open(path, "wb", block_size=block)
        try:
            yield _PlainFile(file, url)
        except BaseException:
            # A file that is not closed is closed by the garbage collector, which uploads it.
            with suppress(Exception):
                file.close()
            with suppress(Exception):
                self._files.rm_file(path)
            raise
        with _plain_errors(url):
            file.close()

    def remove(self, name: str) -> None:
        with _plain_errors(self.url(name)), suppress(FileNotFoundError):
            self._files.rm_file(self._full(name))

    def _full(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"


class _PlainFile:
    """A file of fsspec whose failures are `OSError`s."""

    def __init__(self, file: Any, url: str) -> None:
        self._file = file
        self._url = url

    def write(self, data: bytes | memoryview, /) -> object:
        with _plain_errors(self._url):
            return self._file.write(bytes(data))


@contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Convert failures of a storage to `OSError` with the URL.

    Each package for fsspec has exceptions of its own, so all kinds are caught.
    """
    try:
        yield
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) else None
        text = text or str(error) or type(error).__name__
        # The number of the original error may be that of a closed pipe, which is no failure.
        raise OSError(errno.EIO, text, url) from error
