"""Where a document goes: to standard output, or to a file that may have some of it already.

A file is opened when the first bytes have come: what the server refuses leaves an older file as it
was. What has been written when a command is interrupted stays, for `--continue`.
"""

import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click

from fibclient.cli.exit_codes import UnsuitableFile, say
from fibclient.cli.render.progress import progress_bar
from fibclient.cli.render.units import size_text
from fibclient.client import FibClient
from fibclient.document import Document

__all__ = ["write_to_file", "write_to_stdout"]

COMPARED_BYTES = 8192
"""So much of a file's end tells whose beginning it is: two answers that are alike for so long
differ in nothing but where they begin, and then at other positions."""


def write_to_stdout(document: Document, client: FibClient) -> None:
    """Write a document to standard output."""
    pieces = document.stream(client)
    # Under PYTHONUNBUFFERED sys.stdout.buffer is a raw file, whose writes may be partial.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        if sys.stdout.isatty():
            out.writelines(pieces)
        else:
            _copy(pieces, out, 0, document.size)


def write_to_file(document: Document, client: FibClient, path: Path, is_continued: bool) -> None:
    """Write a document to a file.

    Args:
        document: what to write.
        client: whom to ask for it.
        path: of the file.
        is_continued: whether to keep what is there, if it is the document's beginning.

    Raises:
        UnsuitableFile: it is not.
    """
    begin = _size_of_beginning(document, client, path) if is_continued else 0
    if begin and begin == document.size:
        click.echo(f"{path} is complete: {size_text(begin)}", err=True)
        return
    pieces = document.stream(client, begin)
    first = next(pieces, b"")  # a refusal is raised here
    file = path.open("ab" if is_continued else "wb")
    try:
        with file:
            file.write(first)
            _copy(pieces, file, begin + len(first), document.size)
    except BaseException as error:
        _tell_how_to_go_on(path, document.size)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _tell_how_to_go_on(path: Path, size: int) -> None:
    """Say how much a file has of so many bytes, if it is one that can have more."""
    found = path.stat()
    if stat.S_ISREG(found.st_mode) and found.st_size < size:
        say(
            f"{path} has {size_text(found.st_size)} of {size_text(size)};"
            " the same command with --continue goes on from there"
        )


def _size_of_beginning(document: Document, client: FibClient, path: Path) -> int:
    """Return how many bytes of a document a file has already."""
    if not path.exists():
        return 0
    size = path.stat().st_size
    if size > document.size:
        raise UnsuitableFile(
            f"{path} is no beginning of this answer: it has {size:,} bytes,"
            f" the answer has {document.size:,}"
        )
    compared = min(size, COMPARED_BYTES)
    with path.open("rb") as file:
        file.seek(size - compared)
        end_of_file = file.read(compared)
    if end_of_file != b"".join(map(bytes, document.stream(client, size - compared, size))):
        raise UnsuitableFile(
            f"{path} is no beginning of this answer: its last {compared:,} bytes are others"
        )
    return size


def _copy(pieces: Iterable[bytes | memoryview], out: BinaryIO, done: int, total: int) -> None:
    """Write pieces, with a progress bar if there is much to come and somebody to see it.

    Args:
        pieces: what to write.
        out: where to.
        done: how many bytes are there already.
        total: how many there will be.
    """
    with progress_bar(done, total) as advance:
        for piece in pieces:
            out.write(piece)
            advance(len(piece))
