"""Tests of the snapshot: what a restart finds, damaged files, disk errors and its limit."""

import os
import signal
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from fibserver.storage.snapshot import VERSION
from tests.support.expected import EXACT, expected
from tests.support.servers import RunningServer, direct_client

Serve = Callable[..., RunningServer]
Mounting = Callable[[str], list[str]]

GIANT = 1_000_000
"""F(1,000,000) is one of the first numbers whose files are worth reading."""

GIANT_BYTES = 208_988 + 1  # with a newline


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the path of a snapshot directory."""
    return tmp_path / "state"


@cache
def giant(n: int) -> bytes:
    """Return F(n) for n from `GIANT` on, as text; computed without code of the product."""
    if n > GIANT + 1:
        numbers = (Decimal(giant(n - step).decode()) for step in (1, 2))
        return f"{EXACT.add(*numbers)}\n".encode()
    value, following = Decimal(0), Decimal(1)
    for bit in f"{n:b}":  # F(2k) and F(2k+1), then F(2k+1) and F(2k+2)
        double = EXACT.multiply(value, EXACT.subtract(EXACT.add(following, following), value))
        squares = EXACT.multiply(value, value), EXACT.multiply(following, following)
        value, following = double, EXACT.add(*squares)
        if bit == "1":
            value, following = following, EXACT.add(value, following)
    return f"{value}\n".encode()


def ask(server: RunningServer, numbers: Iterable[int] = (GIANT,)) -> None:
    """Request numbers one after another, and check them."""
    with direct_client(server.address) as client:
        for n in numbers:
            assert client.read(n, n + 1, "text") == giant(n)


def ask_first(server: RunningServer, n: int = 1000) -> None:
    """Request the first numbers, and check them."""
    with direct_client(server.address) as client:
        assert client.read(0, n, "json") == expected("json", 0, n)


def file_of(state: Path, n: int) -> Path:
    """Return the path of the file of one number."""
    return state / f"text-{n}-{n + 1}.v{VERSION}.block"


def files(state: Path) -> set[str]:
    """Return the names of all files."""
    return set(os.listdir(state))


def is_saved(server: RunningServer) -> bool:
    """Return whether every computed block is in the snapshot."""
    info = server.info()
    return info["rdb_changes_since_last_save"] == "0" and int(info["snapshot_blocks"]) > 0


def is_within_a_mebibyte(server: RunningServer) -> bool:
    """Return whether that holds, and the snapshot was trimmed to 1 MiB."""
    return is_saved(server) and int(server.info()["snapshot_bytes"]) <= 1 << 20


def found_and_computed(server: RunningServer) -> tuple[int, int]:
    """Return how many blocks were found on disk, and how many were computed."""
    info = server.info()
    return int(info["blocks_found_on_disk"]), int(info["blocks_computed"])


def warnings(server: RunningServer) -> list[str]:
    """Return the warnings and errors in a server's log."""
    lines = server.log.read_text().splitlines()
    return [line for line in lines if " WARNING " in line or " ERROR " in line]


def fill_and_stop(serve: Serve, state: Path, numbers: Iterable[int] = (GIANT,)) -> None:
    """Run a server that computes and saves numbers."""
    server = serve("--state-dir", str(state))
    ask(server, numbers)
    assert server.stop() == 0
    assert not warnings(server)
    assert files(state) == {file_of(state, n).name for n in numbers}


# Restarts.


def test_sigterm_saves_all_blocks(serve: Serve, state: Path) -> None:
    """SIGTERM saves what is unsaved, and the next run finds it on disk, then in memory."""
    numbers = range(GIANT, GIANT + 3)
    fill_and_stop(serve, state, numbers)
    server = serve("--state-dir", str(state))
    assert found_and_computed(server) == (0, 0), "nothing is loaded before it is requested"
    ask(server, numbers)
    ask(server, numbers)
    assert found_and_computed(server) == (3, 0)
    assert server.info()["blocks_found_in_memory"] == "3"
    server.wait_until(is_saved, "counted")
    assert server.info()["snapshot_blocks"] == "3"
    assert server.stop() == 0
    assert not warnings(server)
    assert files(state) == {file_of(state, n).name for n in numbers}


def test_blocks_are_saved_while_serving(serve: Serve, state: Path) -> None:
    """Blocks are saved while serving, so they survive kill -9; the arrays are not saved."""
    server = serve("--state-dir", str(state))
    ask(server)
    ask_first(server)
    server.wait_until(is_saved, "saved")
    info = server.info()
    assert (info["snapshot_blocks"], info["rdb_last_bgsave_status"]) == ("1", "ok")
    server.stop(signal.SIGKILL)
    assert files(state) == {file_of(state, GIANT).name}
    server = serve("--state-dir", str(state))
    ask(server)
    assert found_and_computed(server) == (1, 0)


def test_what_memory_has_no_room_for(serve: Serve, state: Path) -> None:
    """A block that was evicted from memory is found on disk, in the same run."""
    server = serve("--state-dir", str(state), FIBSERVER_MEMORY_LIMIT="1MiB")
    numbers = range(GIANT, GIANT + 3)
    for n in numbers:  # blocks that were used once share a quarter of the memory: 256 KiB
        ask(server, [n])
        server.wait_until(is_saved, "saved")
    ask(server, numbers[:1])
    assert found_and_computed(server) == (1, 3)
    assert not warnings(server)


def test_a_start_reads_no_files(serve: Serve, state: Path) -> None:
    """A server is ready and answers without having opened any file of the snapshot."""
    state.mkdir()
    for number in range(2000):
        # Opening it would block whoever does so.
        os.mkfifo(file_of(state, 2 * GIANT + number))
    server = serve("--state-dir", str(state))
    ask(server)
    server.wait_until(is_saved, "saved")
    assert server.info()["snapshot_blocks"] == "1", "pipes do not count"
    assert server.info()["worker_deaths"] == "0"
    assert not warnings(server)


# Damage.


def damage(path: Path) -> None:
    """Corrupt the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """Cut off the last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    """Append a byte."""
    path.write_bytes(path.read_bytes() + b"\0")


def replace(path: Path) -> None:
    """Replace a file by one of another program."""
    path.write_bytes(bytes(path.stat().st_size))


HARMS = {
    damage: "checksum mismatch",
    truncate: "wrong file size",
    lengthen: "wrong file size",
    replace: "not a block of fibserver",
}


def test_damaged_file_warns_and_is_computed_again(serve: Serve, state: Path) -> None:
    """Each kind of damage causes one warning; the blocks are computed and saved again."""
    numbers = range(GIANT, GIANT + len(HARMS))
    fill_and_stop(serve, state, numbers)
    before = {n: file_of(state, n).read_bytes() for n in numbers}
    for n, harm in zip(numbers, HARMS, strict=True):
        harm(file_of(state, n))
    server = serve("--state-dir", str(state))
    ask(server, numbers)
    assert found_and_computed(server) == (0, len(HARMS))
    told = [line for line in warnings(server) if "computing the block" in line]
    for n, line, message in zip(numbers, told, HARMS.values(), strict=True):
        assert str(file_of(state, n)) in line
        assert message in line
    server.wait_until(is_saved, "saved")
    assert len(warnings(server)) == len(HARMS), "and no others"
    assert server.info()["worker_deaths"] == "0"
    assert {n: file_of(state, n).read_bytes() for n in numbers} == before


def test_an_unreadable_file(serve: Serve, state: Path) -> None:
    """A file that cannot be read causes one warning, and is replaced."""
    fill_and_stop(serve, state)
    path = file_of(state, GIANT)
    before = path.read_bytes()
    path.unlink()
    path.symlink_to(path)  # not even root can read a link to itself
    server = serve("--state-dir", str(state))
    ask(server)
    assert found_and_computed(server) == (0, 1)
    assert server.stop() == 0
    (warning,) = warnings(server)
    assert f"{path}'; computing the block" in warning
    assert path.read_bytes() == before


def test_files_of_another_version_are_removed(serve: Serve, state: Path) -> None:
    """Files of another version are ignored without a warning, and removed."""
    state.mkdir()
    for name in ("json-000000000000.block", "text-1000000-1000001.v1.block"):
        (state / name).write_bytes(b"old")
    server = serve("--state-dir", str(state))
    ask(server)
    server.wait_until(is_saved, "saved")
    assert files(state) == {file_of(state, GIANT).name}
    assert found_and_computed(server) == (0, 1)
    assert not warnings(server)


def kill_all(server: RunningServer) -> None:
    """Kill all processes of a server at once."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.stop()


def test_killed_while_saving(serve: Serve, state: Path) -> None:
    """A save that hangs occupies one worker; kill -9 of all processes leaves only whole files."""
    server = serve("--state-dir", str(state), "--workers", "2")
    ask(server)
    server.wait_until(is_saved, "saved")
    unfinished = [
        file_of(state, GIANT + 1).with_suffix(f".{worker.pid}.new") for worker in server.workers()
    ]
    for path in unfinished:
        os.mkfifo(path)  # opening it blocks the worker
    ask(server, [GIANT + 1])
    server.wait_until(lambda running: running.info()["rdb_bgsave_in_progress"] == "1", "saving")
    ask(server, [GIANT + 2])
    for n in (1000, 2000, 5000):  # several blocks at once, which two workers would share
        ask_first(server, n)
    info = server.info()
    assert info["rdb_bgsave_in_progress"] == "1"
    assert info["rdb_changes_since_last_save"] == "2"
    kill_all(server)
    assert files(state) == {path.name for path in (file_of(state, GIANT), *unfinished)}
    for path in unfinished:
        path.unlink()
    server = serve("--state-dir", str(state))
    numbers = range(GIANT, GIANT + 3)
    ask(server, numbers)
    assert found_and_computed(server) == (1, 2)
    assert server.stop() == 0
    assert not warnings(server)
    assert files(state) == {file_of(state, n).name for n in numbers}


def test_killed_at_any_time(serve: Serve, state: Path) -> None:
    """kill -9 of all processes as soon as the first file appears leaves no broken file."""
    numbers = range(GIANT, GIANT + 5)
    server = serve("--state-dir", str(state))
    server.wait_until(lambda _: state.exists(), "trimmed")
    ask(server, numbers)
    server.wait_until(lambda _: bool(files(state)), "the first file")
    kill_all(server)
    server = serve("--state-dir", str(state))
    ask(server, numbers)
    found, computed = found_and_computed(server)
    assert found + computed == len(numbers)
    assert server.stop() == 0
    assert not warnings(server)
    whole = {name for name in files(state) if not name.endswith(".new")}
    assert whole == {file_of(state, n).name for n in numbers}


# Disk errors.


def test_snapshot_on_full_disk_warns(serve: Serve, state: Path, mounting: Mounting) -> None:
    """A full disk causes a warning; requests are still served."""
    state.mkdir()
    under = mounting(f"mount -t tmpfs -o size=100k tmpfs {state}")
    server = serve("--state-dir", str(state), under=under)
    ask(server)
    server.wait_for_log("No space left on device")
    ask(server, range(GIANT, GIANT + 3))
    (warning,) = warnings(server)
    assert "trying again in 30 s" in warning
    info = server.info()
    assert info["rdb_last_bgsave_status"] == "err"
    assert info["rdb_changes_since_last_save"] == "3"
    assert info["worker_deaths"] == "0"
    root = Path(f"/proc/{server.process.pid}/root")
    assert files(root / state.relative_to("/")) == set()
    assert server.stop() == 0


def test_read_only_snapshot_is_used(serve: Serve, state: Path, mounting: Mounting) -> None:
    """Files on a read-only disk are used; saving to it causes one warning."""
    fill_and_stop(serve, state)
    under = mounting(f"mount --bind -o ro {state} {state}")
    server = serve("--state-dir", str(state), under=under)
    ask(server)
    assert found_and_computed(server) == (1, 0)
    ask(server, [GIANT + 1])
    server.wait_for_log("Read-only file system")
    ask(server, [GIANT + 2])
    ask_first(server)
    assert len(warnings(server)) == 1
    assert server.stop() == 0


def test_state_dir_that_cannot_be_created(serve: Serve, tmp_path: Path) -> None:
    """If `state_dir` cannot be created, the server warns and serves without it."""
    (tmp_path / "file").write_text("not a folder")
    server = serve("--state-dir", str(tmp_path / "file" / "state"))
    server.wait_for_log("trying again in 30 s")
    ask(server)
    assert "Not a directory" in warnings(server)[0]
    assert server.info()["rdb_last_bgsave_status"] == "err"
    assert server.stop() == 0


# The limit.


def test_the_limit_is_kept(serve: Serve, state: Path) -> None:
    """`state_limit` bounds the files, old and new; those used longest ago are removed."""
    old = range(GIANT, GIANT + 6)
    fill_and_stop(serve, state, old)
    for n in old:
        os.utime(file_of(state, n), (n, n))
    assert sum(path.stat().st_size for path in state.iterdir()) > 1 << 20
    server = serve("--state-dir", str(state), FIBSERVER_STATE_LIMIT="1MiB")
    server.wait_until(is_within_a_mebibyte, "trimmed")
    assert files(state) == {file_of(state, n).name for n in old[2:]}
    ask(server, [GIANT + 2])
    for n in (GIANT + 6, GIANT + 7):
        ask(server, [n])
        server.wait_until(is_within_a_mebibyte, "saved")
    assert found_and_computed(server) == (1, 2)
    assert files(state) == {file_of(state, GIANT + n).name for n in (2, 5, 6, 7)}
    total = sum(path.stat().st_size for path in state.iterdir())
    info = server.info()
    assert (info["snapshot_blocks"], info["snapshot_bytes"]) == ("4", str(total))
    assert not warnings(server)
