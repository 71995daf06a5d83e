"""Storage of exports: local folders, and file systems of fsspec."""

import errno
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fibclient.export.optional import ExportError, optional
from fibclient.export.stores import open_store, resolved_url
from fibcommon.extras import MissingExtra
from tests.conftest import missing


@pytest.fixture(params=["local", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a folder that does not exist yet, in each kind of store."""
    if request.param == "memory":
        yield from _memory_url()
    else:
        path = str(tmp_path / "a b" / "numbers")
        yield path if request.param == "local" else f"file://{path.replace(' ', '%20')}"


@pytest.fixture
def memory_url() -> Iterator[str]:
    """The URL of a folder of fsspec in memory."""
    yield from _memory_url()


def _memory_url() -> Iterator[str]:
    if find_spec("fsspec") is None:
        missing("an installed fsspec")
    yield "memory://export-test/numbers"
    files = optional("fsspec", "export", "").filesystem("memory")
    files.rm("/export-test", recursive=True)


def test_files_are_written_listed_and_read(url: str) -> None:
    """A file has its contents, and replaces an older one of the same name."""
    store = open_store(url)
    assert store.sizes() == {}
    for data in (b"older", b"numbers", b""):
        with store.create("a", len(data)) as file:
            file.write(data[:3])
            file.write(memoryview(data)[3:])
        assert store.sizes() == {"a": len(data)}
        assert b"".join(store.chunks("a")) == data
    store.remove("a")
    store.remove("a")  # it is gone already
    assert store.sizes() == {}


def test_failure_leaves_no_file(url: str) -> None:
    """A file whose writer fails is not there."""
    store = open_store(url)
    with store.create("b", 1) as file:
        file.write(b"1")

    def fail() -> None:
        with store.create("a", 10) as file:
            file.write(b"half")
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        fail()
    assert store.sizes() == {"b": 1}


def test_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    """In a local folder, a file is never seen in part."""
    store = open_store(str(tmp_path))
    (tmp_path / "a").write_bytes(b"older")
    with store.create("a", 10) as file:
        file.write(b"new")
        assert (tmp_path / "a").read_bytes() == b"older"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    """A writer removes the temporary files of earlier ones of the same file."""
    for name in (".a.0123.tmp", ".b.0123.tmp"):
        (tmp_path / name).touch()
    with open_store(str(tmp_path)).create("a", 0):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".b.0123.tmp"}


def test_full_disk_names_the_file(tmp_path: Path) -> None:
    """An error without a file name, as write(2) raises, gets that of the file."""
    store = open_store(str(tmp_path))

    def write() -> None:
        with store.create("a", 10):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as failure:
        write()
    assert failure.value.filename == str(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("quota exceeded"),
        OSError("quota exceeded"),
        BrokenPipeError(32, "quota exceeded"),
    ],
)
def test_failures_of_packages_are_plain_errors(
    memory_url: str, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a package of a storage raises becomes an OSError with the URL and the reason."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise failure

    store = open_store(memory_url)
    memory = type(optional("fsspec", "export", "").filesystem("memory"))
    with store.create("b", 0), monkeypatch.context() as patched:
        for name in ("open", "ls", "rm_file"):
            patched.setattr(memory, name, fail)
        for call in (
            lambda: store.create("a", 0).__enter__(),
            lambda: next(store.chunks("a")),
            lambda: store.remove("a"),
            store.sizes,
        ):
            with pytest.raises(OSError, match="quota exceeded") as raised:
                call()
            assert not isinstance(raised.value, BrokenPipeError)  # that ends a command silently
            assert str(raised.value.filename).startswith(memory_url)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsspec, the error names it and the extra; a local folder does not need it."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"needs fsspec: pip install 'fibservice\[export\]'"):
        open_store("s3://bucket/numbers")
    open_store("numbers")


def test_unknown_protocol_is_rejected() -> None:
    """A protocol that fsspec does not know is an error with the URL."""
    if find_spec("fsspec") is None:
        missing("an installed fsspec")
    with pytest.raises(ExportError, match="invalid URL s4://bucket: Protocol not known"):
        open_store("s4://bucket")


def test_local_urls_are_made_absolute() -> None:
    """A relative path means the same to workers elsewhere; other URLs are left as they are."""
    assert resolved_url("numbers") == str(Path("numbers").absolute())
    assert resolved_url("file:///a%20b") == "/a b"
    assert resolved_url("s3://bucket/x") == "s3://bucket/x"
