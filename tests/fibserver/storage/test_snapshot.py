"""Snapshot files: round trips, and rejection of every kind of damage."""

import errno
import os
import resource
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format
from fibserver.compute.rendering import render
from fibserver.memory.blocks import Block
from fibserver.storage.snapshot import VERSION, Snapshot, SnapshotError

JSON, TEXT = FORMATS["json"], FORMATS["text"]

HEADER_BYTES = 56
# Where the fields of a header begin: magic, byte order, version, format, first element, element
# after the last, size, checksum.
ORDER, VERSION_AT, NAME, START, STOP, SIZE, CHECKSUM = 8, 10, 12, 28, 36, 44, 52


def block_of(format: Format, start: int, stop: int) -> Block:
    """Return a resident block; its position does not matter here."""
    size = format.offset(stop) - format.offset(start)
    return Block(format, start, stop, 8192, size, 4096)


def content_of(block: Block) -> tuple[bytes, bytes]:
    """Return the index entries and the bytes of a block."""
    chunks: list[bytes] = []
    ends = render(block.format, block.start, block.stop, lambda chunk, _: chunks.append(chunk))
    return ends.tobytes(), b"".join(chunks)


def save(snapshot: Snapshot, block: Block, ends: bytes, data: bytes) -> None:
    """Save a block from any buffers."""
    snapshot.save(block, memoryview(ends), memoryview(data))


def load(snapshot: Snapshot, block: Block) -> tuple[bytes, bytes]:
    """Load a block; return its index entries and its bytes."""
    ends, data = bytearray(8 * (block.stop - block.start)), bytearray(block.size)
    snapshot.load(block, memoryview(ends), memoryview(data))
    return bytes(ends), bytes(data)


BLOCK = block_of(JSON, 100, 112)
ENDS, DATA = content_of(BLOCK)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A snapshot in an empty directory."""
    return Snapshot(tmp_path)


@pytest.fixture
def saved(snapshot: Snapshot) -> Path:
    """The file of a saved block."""
    save(snapshot, BLOCK, ENDS, DATA)
    return snapshot.path(JSON, BLOCK.start)


def names(snapshot: Snapshot) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in snapshot.directory.iterdir())


def patched(content: bytes, position: int, new: bytes) -> bytes:
    """Return the data with some bytes replaced."""
    return content[:position] + new + content[position + len(new) :]


# Round trips.


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 40), (3, 4), (999, 1200)])
def test_saved_block_is_loaded(snapshot: Snapshot, format: Format, start: int, stop: int) -> None:
    """Index entries and bytes are loaded as they were saved, for any format and range."""
    block = block_of(format, start, stop)
    ends, data = content_of(block)
    save(snapshot, block, ends, data)
    assert load(snapshot, block) == (ends, data)
    found, useless = snapshot.scan()
    assert found[format] == {start: stop}
    assert not useless
    assert names(snapshot) == [f"{format.name}-{start:012d}.block"]


def test_a_block_is_saved_again(snapshot: Snapshot, saved: Path) -> None:
    """Saving replaces an existing file."""
    saved.write_bytes(b"damaged")
    save(snapshot, BLOCK, ENDS, DATA)
    assert load(snapshot, BLOCK) == (ENDS, DATA)


def test_discarded_block_has_no_file(snapshot: Snapshot, saved: Path) -> None:
    """A discarded block has no file; discarding it again is no error."""
    for _ in range(2):
        snapshot.discard(BLOCK)
        assert not saved.exists()
    with pytest.raises(FileNotFoundError):
        load(snapshot, BLOCK)


def test_names_sort_by_element(snapshot: Snapshot) -> None:
    """File names of a format sort by element."""
    starts = [0, 9, 10, 4711, 10_000_000, 10**11]
    paths = [snapshot.path(TEXT, start) for start in starts]
    assert all(str(one) < str(next_one) for one, next_one in pairwise(paths))


# Writing.


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Limit the size of files: larger ones fail with EFBIG, like ENOSPC on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, HEADER_BYTES, HEADER_BYTES + 10, HEADER_BYTES + len(ENDS)])
def test_failed_write_keeps_old_file(snapshot: Snapshot, saved: Path, limit: int) -> None:
    """If the disk fills up while writing, the old file remains and no other."""
    before = saved.read_bytes()
    with file_size_limit(limit), pytest.raises(OSError, match="File too large"):
        save(snapshot, BLOCK, ENDS, DATA)
    assert saved.read_bytes() == before
    assert names(snapshot) == [saved.name]


def test_failed_rename_leaves_no_file(snapshot: Snapshot) -> None:
    """If the file name is taken by a directory, no temporary file is left."""
    path = snapshot.path(JSON, BLOCK.start)
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        save(snapshot, BLOCK, ENDS, DATA)
    assert names(snapshot) == [path.name]


@pytest.mark.parametrize(("number", "is_saved"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_flushed(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, number: int, is_saved: bool
) -> None:
    """Saving succeeds if the directory cannot be flushed, but not if the disk fails."""
    fsync = os.fsync

    def flush(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", flush)
    with nullcontext() if is_saved else pytest.raises(OSError, match="Input/output error"):
        save(snapshot, BLOCK, ENDS, DATA)
    assert load(snapshot, BLOCK) == (ENDS, DATA)


def test_no_folder(snapshot: Snapshot) -> None:
    """If the directory is missing, saving and loading fail."""
    snapshot.directory.rmdir()
    with pytest.raises(FileNotFoundError):
        save(snapshot, BLOCK, ENDS, DATA)
    with pytest.raises(FileNotFoundError):
        load(snapshot, BLOCK)


# Damage.


def assert_refused(snapshot: Snapshot, reason: str = ".", block: Block = BLOCK) -> None:
    """Assert that the block cannot be loaded, for this reason."""
    with pytest.raises(SnapshotError, match=reason):
        load(snapshot, block)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_damaged_byte_is_noticed(snapshot: Snapshot, saved: Path, mask: int) -> None:
    """A change of any byte of a file is detected."""
    content = saved.read_bytes()
    for position in range(len(content)):
        saved.write_bytes(patched(content, position, bytes([content[position] ^ mask])))
        assert_refused(snapshot)
    saved.write_bytes(content)
    load(snapshot, BLOCK)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_runs_are_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Overwriting or replacing any part of a file is detected."""
    snapshot = Snapshot(tmp_path_factory.getbasetemp())
    save(snapshot, BLOCK, ENDS, DATA)
    path = snapshot.path(JSON, BLOCK.start)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    damaged = content[:start] + data.draw(st.binary(max_size=80)) + content[end:]
    path.write_bytes(damaged)
    if damaged == content:
        assert load(snapshot, BLOCK) == (ENDS, DATA)
    else:
        assert_refused(snapshot)
    path.unlink()


def test_truncation_at_any_length(snapshot: Snapshot, saved: Path) -> None:
    """A truncated file is rejected by `load` and by `scan`."""
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        assert_refused(snapshot, "wrong file size")
        assert snapshot.scan()[1] == {"wrong file size": 1}


def test_trailing_bytes(snapshot: Snapshot, saved: Path) -> None:
    """A file with trailing bytes is rejected."""
    saved.write_bytes(saved.read_bytes() + b"\0")
    assert_refused(snapshot, "wrong file size")
    assert snapshot.scan()[1] == {"wrong file size": 1}


@pytest.mark.parametrize(
    ("position", "new", "reason"),
    [
        (0, b"otherapp", "not a fibserver block file"),
        (VERSION_AT, struct.pack("=H", VERSION + 1), f"version {VERSION + 1}, expected"),
        (VERSION_AT, struct.pack("=H", 0), f"version 0, expected {VERSION}"),
        (ORDER, struct.pack("=H", 0x0201), "byte order differs from this machine's"),
        (NAME, b"xml\0", "damaged header"),
        (NAME, b"\xff\xff\xff\xff", "damaged header"),
        (START, struct.pack("=Q", BLOCK.stop), "damaged header"),
    ],
)
def test_headers_of_other_kinds(
    snapshot: Snapshot, saved: Path, position: int, new: bytes, reason: str
) -> None:
    """A file of another kind, version or byte order is rejected by `load` and by `scan`."""
    saved.write_bytes(patched(saved.read_bytes(), position, new))
    assert_refused(snapshot, reason)
    [(told, count)] = snapshot.scan()[1].items()
    assert told.startswith(reason)
    assert count == 1


@pytest.mark.parametrize(
    ("position", "new", "holds"),
    [
        (NAME, b"text", "contains text elements 100 to 111"),
        (START, struct.pack("=Q", 99), "contains json elements 99 to 111"),
        (STOP, struct.pack("=Q", 2**64 - 1), "contains json elements 100 to"),
        (SIZE, struct.pack("=Q", 2**64 - 1), "contains json elements 100 to 111"),
    ],
)
def test_headers_of_other_blocks(
    snapshot: Snapshot, saved: Path, position: int, new: bytes, holds: str
) -> None:
    """A file that contains other elements is rejected before its data is read."""
    saved.write_bytes(patched(saved.read_bytes(), position, new))
    assert_refused(snapshot, holds)
    assert snapshot.scan()[1].total() == 1


def test_another_block_under_that_name(snapshot: Snapshot, saved: Path) -> None:
    """A valid file under the name of another block is rejected."""
    other = block_of(JSON, 112, 120)
    saved.rename(snapshot.path(JSON, other.start))
    assert_refused(snapshot, "contains json elements 100 to 111", other)
    found, useless = snapshot.scan()
    assert not any(found.values())
    assert useless == {"file name does not match the header": 1}


def test_other_boundaries(snapshot: Snapshot, saved: Path) -> None:
    """A file that starts at the right element but ends at another is rejected."""
    assert_refused(snapshot, "contains json elements 100 to 111", block_of(JSON, 100, 113))
    assert_refused(snapshot, "contains json elements 100 to 111", block_of(JSON, 100, 111))


def test_a_wrong_checksum(snapshot: Snapshot, saved: Path) -> None:
    """A damaged checksum is detected."""
    saved.write_bytes(patched(saved.read_bytes(), CHECKSUM, bytes(4)))
    assert_refused(snapshot, "checksum mismatch")


def test_a_wrong_number_with_a_right_checksum(snapshot: Snapshot) -> None:
    """A wrong last element or end is detected even if the checksum is right."""
    wrong = DATA[:-3] + (b"1" if DATA[-3:-2] != b"1" else b"2") + DATA[-2:]
    save(snapshot, BLOCK, ENDS, wrong)
    assert_refused(snapshot, "element 111 is wrong")
    save(snapshot, BLOCK, ENDS[:-8] + bytes(8), DATA)
    assert_refused(snapshot, "element 111 is wrong")


def test_a_folder_in_place_of_a_file(snapshot: Snapshot) -> None:
    """A directory in place of a file is reported as unreadable."""
    snapshot.path(JSON, BLOCK.start).mkdir()
    with pytest.raises(IsADirectoryError):
        load(snapshot, BLOCK)
    assert snapshot.scan()[1] == {"unreadable (Is a directory)": 1}


# Scanning the directory.


def test_scan_makes_the_folder(tmp_path: Path) -> None:
    """`scan` creates a missing directory, accessible only to its owner."""
    snapshot = Snapshot(tmp_path / "state" / "fibserver")
    found, useless = snapshot.scan()
    assert (set(found), set(map(len, found.values()))) == (set(FORMATS.values()), {0})
    assert not useless
    assert snapshot.directory.stat().st_mode & 0o777 == 0o700


def test_scan_of_file_raises(tmp_path: Path) -> None:
    """`scan` raises `OSError` if the path is a file."""
    path = tmp_path / "state"
    path.touch()
    with pytest.raises(FileExistsError):
        Snapshot(path).scan()


def test_scan_counts_unusable_files_by_reason(snapshot: Snapshot) -> None:
    """`scan` finds the valid blocks and counts the unusable files by reason."""
    blocks = [block_of(TEXT, start, start + 10) for start in range(0, 80, 10)]
    for block in blocks:
        save(snapshot, block, *content_of(block))
    paths = [snapshot.path(TEXT, block.start) for block in blocks]
    for path in paths[:3]:
        path.write_bytes(path.read_bytes()[:-1])
    paths[3].write_bytes(b"")
    for path in paths[4:6]:
        path.write_bytes(b"x" * 500)
    found, useless = snapshot.scan()
    assert found[TEXT] == {60: 70, 70: 80}
    assert not found[JSON]
    assert useless == {"wrong file size": 4, "not a fibserver block file": 2}


def test_scan_removes_unfinished_files(snapshot: Snapshot, saved: Path) -> None:
    """`scan` removes temporary files of killed workers, and no other files."""
    unfinished = snapshot.directory / f"json-000000000000.{os.getpid()}.new"
    unfinished.write_bytes(b"half")
    stubborn = snapshot.directory / "json-000000000001.1.new"
    stubborn.mkdir()
    foreign = snapshot.directory / "README"
    foreign.write_text("mine")
    found, useless = snapshot.scan()
    assert found[JSON] == {BLOCK.start: BLOCK.stop}
    assert not useless
    assert names(snapshot) == sorted([foreign.name, saved.name, stubborn.name])
