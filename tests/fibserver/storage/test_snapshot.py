"""Snapshot files: round trips, rejection of every kind of damage, and trimming."""

import errno
import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.formats import FORMATS, Format
from fibserver.compute.rendering import render
from fibserver.memory.blocks import Block
from fibserver.storage.snapshot import VERSION, Snapshot, SnapshotError, SnapshotSize, checksum

JSON, TEXT = FORMATS["json"], FORMATS["text"]

LIMIT_BYTES = 10_000
HEADER_BYTES = 12
CHECKSUM_AT = 8  # after the magic


def block_of(format: Format, start: int, stop: int) -> Block:
    """Return a far block; its position does not matter here."""
    return Block(format, start, stop, 8192, format.offset(stop) - format.offset(start))


def content_of(block: Block) -> bytes:
    """Return the bytes of a block."""
    chunks: dict[int, bytes] = {}
    render(block.format, block.start, block.stop, lambda chunk, at: chunks.update({at: chunk}))
    return b"".join(chunks[offset] for offset in sorted(chunks))


def save(snapshot: Snapshot, block: Block, data: bytes | None = None) -> Path:
    """Save a block, by default with its right bytes, and return its path."""
    view = memoryview(content_of(block) if data is None else data)
    snapshot.save(block, view, checksum(block, view))
    return snapshot.path(block)


def load(snapshot: Snapshot, block: Block) -> bytes | None:
    """Load a block; return its bytes, or None if it has no file."""
    data = bytearray(block.size)
    return bytes(data) if snapshot.load(block, memoryview(data)) else None


BLOCK = block_of(JSON, 100, 112)
DATA = content_of(BLOCK)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A snapshot in an empty directory."""
    return Snapshot(tmp_path, LIMIT_BYTES)


@pytest.fixture
def saved(snapshot: Snapshot) -> Path:
    """The file of a saved block."""
    return save(snapshot, BLOCK)


def names(snapshot: Snapshot) -> list[str]:
    """Return the names of all files."""
    return sorted(os.listdir(snapshot.directory))


def patched(content: bytes, position: int, new: bytes) -> bytes:
    """Return the data with some bytes replaced."""
    return content[:position] + new + content[position + len(new) :]


# Round trips.


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 40), (3, 4), (999, 1200)])
def test_saved_block_is_loaded(snapshot: Snapshot, format: Format, start: int, stop: int) -> None:
    """The bytes are loaded as they were saved, for any format and range."""
    block = block_of(format, start, stop)
    save(snapshot, block)
    assert load(snapshot, block) == content_of(block)
    assert names(snapshot) == [f"{format.name}-{start}-{stop}.v{VERSION}.block"]


def test_the_position_in_memory_does_not_matter(snapshot: Snapshot, saved: Path) -> None:
    """A block is loaded into another position than it was saved from."""
    assert load(snapshot, BLOCK._replace(position=1 << 20)) == DATA


def test_each_block_has_a_file(snapshot: Snapshot, saved: Path) -> None:
    """Blocks that differ in format, start or stop do not share a file."""
    blocks = [BLOCK, block_of(TEXT, 100, 112), block_of(JSON, 100, 111), block_of(JSON, 99, 112)]
    assert len({snapshot.path(block) for block in blocks}) == len(blocks)
    assert [load(snapshot, block) for block in blocks] == [DATA, None, None, None]


def test_a_block_is_saved_again(snapshot: Snapshot, saved: Path) -> None:
    """Saving replaces an existing file."""
    saved.write_bytes(b"damaged")
    save(snapshot, BLOCK)
    assert load(snapshot, BLOCK) == DATA


def test_missing_files_and_directories(snapshot: Snapshot) -> None:
    """A block without a file is not loaded; saving needs the directory."""
    assert load(snapshot, BLOCK) is None
    snapshot.directory.rmdir()
    assert load(snapshot, BLOCK) is None
    with pytest.raises(FileNotFoundError):
        save(snapshot, BLOCK)


def test_checksum_is_never_zero() -> None:
    """No checksum is 0, which means that there is none."""
    assert checksum(BLOCK, memoryview(b"")) != 0
    assert checksum(BLOCK, memoryview(b"12")) != checksum(BLOCK, memoryview(b"21"))


# Time of use.


def test_loading_updates_the_time_of_use(snapshot: Snapshot, saved: Path) -> None:
    """The time of modification is that of the last use; a damaged file was not used."""
    os.utime(saved, (0, 0))
    load(snapshot, BLOCK)
    assert saved.stat().st_mtime > 0
    saved.write_bytes(patched(saved.read_bytes(), CHECKSUM_AT, bytes(4)))
    os.utime(saved, (0, 0))
    assert_refused(snapshot)
    assert saved.stat().st_mtime == 0


def test_loading_from_a_read_only_disk(
    snapshot: Snapshot, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block is loaded even if its time of use cannot be updated."""

    def fail(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", fail)
    assert load(snapshot, BLOCK) == DATA


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


@pytest.mark.parametrize("limit", [0, 5, HEADER_BYTES, HEADER_BYTES + len(DATA) - 1])
def test_failed_write_keeps_old_file(snapshot: Snapshot, saved: Path, limit: int) -> None:
    """If the disk fills up while writing, the old file remains and no other."""
    before = saved.read_bytes()
    with file_size_limit(limit), pytest.raises(OSError, match="File too large"):
        save(snapshot, BLOCK)
    assert saved.read_bytes() == before
    assert names(snapshot) == [saved.name]


def test_bytes_that_have_changed_are_not_saved(snapshot: Snapshot, saved: Path) -> None:
    """Bytes with another checksum than when they were computed are rejected, and not written."""
    before = saved.read_bytes()
    changed = memoryview(patched(DATA, 30, b"x"))
    with pytest.raises(SnapshotError, match="changed in memory"):
        snapshot.save(BLOCK, changed, checksum(BLOCK, memoryview(DATA)))
    assert saved.read_bytes() == before
    assert names(snapshot) == [saved.name]


def patch_fsync(
    monkeypatch: pytest.MonkeyPatch,
    on_file: Callable[[], object] = lambda: None,
    on_directory: Callable[[], object] = lambda: None,
) -> None:
    """Call a function before files, and another before directories are flushed."""
    fsync = os.fsync

    def flush(fd: int) -> None:
        (on_directory if stat.S_ISDIR(os.fstat(fd).st_mode) else on_file)()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", flush)


def failure(number: int) -> Callable[[], None]:
    """Return a function that raises an error of the system."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_complete_files_are_renamed(
    snapshot: Snapshot, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is complete when it is flushed; before that it has a temporary name."""
    content = saved.read_bytes()
    saved.write_bytes(b"old")
    seen: list[list[bytes]] = []

    def look() -> None:
        seen.append(sorted(path.read_bytes() for path in snapshot.directory.iterdir()))

    patch_fsync(monkeypatch, look, look)
    save(snapshot, BLOCK)
    assert seen == [sorted([b"old", content]), [content]]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_flushed(
    snapshot: Snapshot, saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """If a file cannot be flushed, the old one remains and no other."""
    saved.write_bytes(b"old")

    def fail() -> None:
        raise error

    patch_fsync(monkeypatch, on_file=fail)
    with pytest.raises(type(error)):
        save(snapshot, BLOCK)
    assert saved.read_bytes() == b"old"
    assert names(snapshot) == [saved.name]


@pytest.mark.parametrize(("number", "is_saved"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_flushed(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, number: int, is_saved: bool
) -> None:
    """Saving succeeds if the directory cannot be flushed, but not if the disk fails."""
    patch_fsync(monkeypatch, on_directory=failure(number))
    with nullcontext() if is_saved else pytest.raises(OSError, match="Input/output error"):
        save(snapshot, BLOCK)
    assert load(snapshot, BLOCK) == DATA


def test_failed_rename_leaves_no_file(snapshot: Snapshot) -> None:
    """If the file name is taken by a directory, no temporary file is left."""
    path = snapshot.path(BLOCK)
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        save(snapshot, BLOCK)
    assert names(snapshot) == [path.name]


# Damage.


def assert_refused(snapshot: Snapshot, reason: str = ".", block: Block = BLOCK) -> None:
    """Assert that the block cannot be loaded, for this reason."""
    with pytest.raises(SnapshotError, match=reason):
        load(snapshot, block)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_damaged_byte_is_noticed(snapshot: Snapshot, saved: Path, mask: int) -> None:
    """A change of any byte of a file is detected."""
    content = saved.read_bytes()
    assert len(content) == HEADER_BYTES + len(DATA)
    for position in range(len(content)):
        saved.write_bytes(patched(content, position, bytes([content[position] ^ mask])))
        assert_refused(
            snapshot, "not a block of fibserver" if position < CHECKSUM_AT else "checksum mismatch"
        )
    saved.write_bytes(content)
    assert load(snapshot, BLOCK) == DATA


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_runs_are_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Overwriting or replacing any part of a file is detected."""
    snapshot = Snapshot(tmp_path_factory.getbasetemp(), LIMIT_BYTES)
    path = save(snapshot, BLOCK)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    damaged = content[:start] + data.draw(st.binary(max_size=80)) + content[end:]
    path.write_bytes(damaged)
    if damaged == content:
        assert load(snapshot, BLOCK) == DATA
    else:
        assert_refused(snapshot)
    path.unlink()


def test_truncation_at_any_length(snapshot: Snapshot, saved: Path) -> None:
    """A truncated file is rejected."""
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        assert_refused(snapshot, "wrong file size")


def test_trailing_bytes(snapshot: Snapshot, saved: Path) -> None:
    """A file with trailing bytes is rejected."""
    saved.write_bytes(saved.read_bytes() + b"\0")
    assert_refused(snapshot, "wrong file size")


def test_files_of_another_program(snapshot: Snapshot, saved: Path) -> None:
    """A file of the right size that another program wrote is rejected."""
    saved.write_bytes(b"otherapp" + saved.read_bytes()[8:])
    assert_refused(snapshot, "not a block of fibserver")


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_wrong_number_with_a_right_checksum(snapshot: Snapshot, format: Format) -> None:
    """A wrong last number is detected even if the checksum is right."""
    block = block_of(format, 100, 112)
    data = content_of(block)
    position = len(data) - len(format.separator) - 4
    digit = b"1" if data[position : position + 1] != b"1" else b"2"
    save(snapshot, block, patched(data, position, digit))
    assert_refused(snapshot, r"F\(111\) is wrong", block)


def test_named_pipe_does_not_block(snapshot: Snapshot) -> None:
    """A named pipe in place of a file is rejected at once."""
    os.mkfifo(snapshot.path(BLOCK))
    assert_refused(snapshot, "not a regular file")


@pytest.mark.parametrize("new", [b"x", b" ", b"_", b'"', b"\xff", b"."])
def test_damage_with_a_right_checksum(snapshot: Snapshot, new: bytes) -> None:
    """Bytes that are no digits, and a damaged end, are detected even if the checksum is right."""
    for position in (len(DATA) - 10, len(DATA) - 3, len(DATA) - 1):
        save(snapshot, BLOCK, patched(DATA, position, new))
        assert_refused(snapshot, r"F\(111\) is damaged")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (block_of(TEXT, 100, 101), block_of(TEXT, 101, 102)),
        (block_of(FORMATS["bfile"], 1000, 1003), block_of(FORMATS["csv"], 1000, 1003)),
    ],
    ids=["element", "format"],
)
def test_another_block_under_that_name(snapshot: Snapshot, one: Block, other: Block) -> None:
    """A valid file under the name of another block is rejected, even if it has its size."""
    assert one.size == other.size
    save(snapshot, one).rename(snapshot.path(other))
    assert_refused(snapshot, "checksum mismatch", other)


def test_other_boundaries(snapshot: Snapshot, saved: Path) -> None:
    """A file that ends at another element is rejected."""
    for block in (block_of(JSON, 100, 113), block_of(JSON, 100, 111)):
        saved.rename(snapshot.path(block))
        assert_refused(snapshot, "wrong file size", block)
        snapshot.path(block).rename(saved)


def test_unreadable_files(snapshot: Snapshot) -> None:
    """A file that cannot be read raises `OSError`: it is neither missing nor damaged."""
    path = snapshot.path(BLOCK)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        load(snapshot, BLOCK)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        load(snapshot, BLOCK)


def test_an_unreadable_file_is_replaced(snapshot: Snapshot) -> None:
    """Saving replaces a link to itself, which not even root can read."""
    path = snapshot.path(BLOCK)
    path.symlink_to(path)
    save(snapshot, BLOCK)
    assert load(snapshot, BLOCK) == DATA


# Trimming.


def fill(snapshot: Snapshot, sizes: list[int]) -> list[Path]:
    """Write files of these sizes, in order of their time of use, and return their paths."""
    paths = []
    for number, size in enumerate(sizes):
        # The order of names is another.
        path = snapshot.path(block_of(TEXT, 100 - number, 101))
        path.write_bytes(bytes(size))
        os.utime(path, (number, number))
        paths.append(path)
    return paths


def test_trim_makes_the_directory(tmp_path: Path) -> None:
    """`trim` creates a missing directory, accessible only to its owner."""
    snapshot = Snapshot(tmp_path / "state" / "fibserver", LIMIT_BYTES)
    assert snapshot.trim() == SnapshotSize(0, 0)
    assert snapshot.directory.stat().st_mode & 0o777 == 0o700
    assert snapshot.trim() == SnapshotSize(0, 0)


def test_trim_of_a_file_raises(tmp_path: Path) -> None:
    """`trim` raises `OSError` if the path is a file."""
    path = tmp_path / "state"
    path.touch()
    with pytest.raises(FileExistsError):
        Snapshot(path, LIMIT_BYTES).trim()


def test_nothing_is_removed_up_to_the_limit(snapshot: Snapshot) -> None:
    """Files of exactly the limit in total remain, and are counted."""
    paths = fill(snapshot, [LIMIT_BYTES // 4] * 4)
    assert snapshot.trim() == SnapshotSize(4, LIMIT_BYTES)
    assert all(path.exists() for path in paths)


def test_files_used_longest_ago_are_removed(snapshot: Snapshot) -> None:
    """Above the limit, files are removed in the order of their use, down to 90 %."""
    paths = fill(snapshot, [LIMIT_BYTES // 10] * 11)
    assert snapshot.trim() == SnapshotSize(9, LIMIT_BYTES * 9 // 10)
    assert [path.exists() for path in paths] == [False] * 2 + [True] * 9
    assert snapshot.trim() == SnapshotSize(9, LIMIT_BYTES * 9 // 10)


def test_a_loaded_block_is_removed_last(snapshot: Snapshot, saved: Path) -> None:
    """Using a block protects its file."""
    os.utime(saved, (0, 0))
    fill(snapshot, [LIMIT_BYTES // 2] * 2)
    load(snapshot, BLOCK)
    snapshot.trim()
    assert saved.exists()
    assert len(names(snapshot)) == 2


def test_a_file_above_the_limit_is_removed(snapshot: Snapshot) -> None:
    """A file that is larger than the limit is removed."""
    fill(snapshot, [LIMIT_BYTES + 1])
    assert snapshot.trim() == SnapshotSize(0, 0)
    assert names(snapshot) == []


def test_files_that_are_never_used(snapshot: Snapshot, saved: Path) -> None:
    """Temporary files of killed workers and files of other versions are removed, and no others."""
    numbers = count()
    for suffix in (f".v{VERSION - 1}.block", f".v{VERSION + 1}.block"):
        (snapshot.directory / f"json-{next(numbers)}-50{suffix}").write_bytes(b"half")
    (snapshot.directory / "json-000000000100.block").write_bytes(b"without a version")
    left = snapshot.directory / "json-000000000100.4711.new"
    left.write_bytes(b"")
    an_hour_ago = time.time() - 3601
    os.utime(left, (an_hour_ago, an_hour_ago))
    foreign = snapshot.directory / "README"
    foreign.write_text("mine")
    new = snapshot.directory / f"json-0-50.v{VERSION}.4711.new"
    new.write_bytes(b"another server is writing it")
    assert snapshot.trim() == SnapshotSize(1, HEADER_BYTES + len(DATA))
    assert names(snapshot) == sorted([foreign.name, new.name, saved.name])


def test_a_replaced_file_counts_once(snapshot: Snapshot) -> None:
    """Saving returns by how much the files have grown: not at all if one is replaced."""
    data = memoryview(DATA)
    assert snapshot.save(BLOCK, data, checksum(BLOCK, data)) == (1, HEADER_BYTES + len(DATA))
    assert snapshot.save(BLOCK, data, checksum(BLOCK, data)) == (0, 0)
    snapshot.path(BLOCK).write_bytes(b"damaged")
    assert snapshot.save(BLOCK, data, checksum(BLOCK, data)) == (0, HEADER_BYTES + len(DATA) - 7)
    assert load(snapshot, BLOCK) == DATA


def test_directories_are_not_removed(snapshot: Snapshot, saved: Path) -> None:
    """A directory under the name of a temporary file does not stop trimming."""
    directory = snapshot.directory / f"json-1-2.v{VERSION}.new"
    directory.mkdir()
    assert snapshot.trim() == SnapshotSize(1, HEADER_BYTES + len(DATA))
    assert names(snapshot) == sorted([directory.name, saved.name])


def test_broken_links(snapshot: Snapshot, saved: Path) -> None:
    """A link to itself under the name of a file does not stop trimming."""
    loop = snapshot.path(block_of(JSON, 1, 2))
    loop.symlink_to(loop)
    snapshot.trim()
    assert load(snapshot, BLOCK) == DATA
