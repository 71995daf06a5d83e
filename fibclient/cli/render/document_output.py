"""Output of a document to standard output, or to a file that may hold the beginning of it.

A file is opened after the first bytes have arrived: if the server rejects the request, an older
file is left unchanged. An interrupted command keeps what it has written, for `--continue`.
"""

import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fibclient.cli.exit_codes import UnsuitableFile
from fibclient.cli.messages import print_note
from fibclient.cli.render.progress import progress_bar
from fibclient.cli.render.units import size_text
from fibclient.client import FibClient
from fibclient.document import Document

__all__ = ["write_to_file", "write_to_stdout"]

COMPARED_BYTES = 8192
"""How much of a file's end is compared: two documents with the same bytes at the same
position over this length are identical up to there."""

_OTHER_FILE = "name another file, or omit --continue to overwrite this one"


def write_to_stdout(document: Document, client: FibClient) -> None:
    """Write a document to standard output."""
    pieces = document.stream(client)
    # With PYTHONUNBUFFERED, sys.stdout.buffer is a raw file, whose writes may be partial.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        if sys.stdout.isatty():
            out.writelines(pieces)
        else:
            _copy(pieces, out, 0, document.size)


def write_to_file(document: Document, client: FibClient, path: Path, is_continued: bool) -> None:
    """Write a document to a file.

    Args:
        document: The document.
        client: The client to request it with.
        path: The file.
        is_continued: Whether to keep the contents of the file and append the rest.

    Raises:
        UnsuitableFile: The contents of the file are not the beginning of the document.
    """
    begin = _verified_size(document, client, path) if is_continued else 0
    if begin and begin == document.size:
        print_note(f"{path} is complete: {size_text(begin)}")
        return
    pieces = document.stream(client, begin)
    first = next(pieces, b"")  # raises if the server rejects the request
    file = path.open("ab" if is_continued else "wb")
    try:
        with file:
            file.write(first)
            _copy(pieces, file, begin + len(first), document.size)
    except BaseException as error:
        _suggest_continue(path, document.size)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _suggest_continue(path: Path, size: int) -> None:
    """Print how to continue if the file is a regular one and smaller than `size`."""
    found = path.stat()
    if stat.S_ISREG(found.st_mode) and found.st_size < size:
        print_note(
            f"{path} has {size_text(found.st_size)} of {size_text(size)};"
            " repeat the command with --continue to resume"
        )


def _verified_size(document: Document, client: FibClient, path: Path) -> int:
    """Return the size of a file, or 0 if it does not exist.

    Raises:
        UnsuitableFile: The file is not the beginning of the document.
    """
    if not path.exists():
        return 0
    size = path.stat().st_size
    if size > document.size:
        raise UnsuitableFile(
            f"{path} is not the beginning of this output: it has {size:,} bytes,"
            f" the output has {document.size:,}; {_OTHER_FILE}"
        )
    compared = min(size, COMPARED_BYTES)
    with path.open("rb") as file:
        file.seek(size - compared)
        end_of_file = file.read(compared)
    if end_of_file != b"".join(map(bytes, document.stream(client, size - compared, size))):
        raise UnsuitableFile(
            f"{path} is not the beginning of this output: its last {compared:,} bytes differ;"
            f" {_OTHER_FILE}"
        )
    return size


def _copy(pieces: Iterable[bytes | memoryview], out: BinaryIO, done: int, total: int) -> None:
    """Write pieces, and show a progress bar.

    Args:
        pieces: The bytes to write.
        out: The destination.
        done: The number of bytes already written.
        total: The number of bytes at the end.
    """
    with progress_bar(done, total) as advance:
        for piece in pieces:
            out.write(piece)
            advance(len(piece))
