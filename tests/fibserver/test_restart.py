"""Tests of restarts with a snapshot: saving, loading, damaged files and disk errors."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.expected import expected
from tests.support.servers import RunningServer, direct_client

Serve = Callable[..., RunningServer]
Mounting = Callable[[str], list[str]]

N = 6000  # 3.8 MB as json, 6 blocks


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the path of a snapshot directory."""
    return tmp_path / "state"


def ask(server: RunningServer, n: int = N, format: str = "json") -> None:
    """Request the first numbers, and check them."""
    with direct_client(server.address) as client:
        assert client.read(0, n, format) == expected(format, 0, n)


def blocks(state: Path, format: str = "json") -> list[Path]:
    """Return the block files of a format, in order."""
    return sorted(state.glob(f"{format}-*.block"))


def is_saved(server: RunningServer) -> bool:
    """Return whether every resident block is in the snapshot."""
    info = server.info()
    return info["rdb_changes_since_last_save"] == "0" and (int(info["snapshot_blocks"]) > 0)


def is_loaded(server: RunningServer) -> bool:
    """Return whether the snapshot is loaded."""
    return server.info()["async_loading"] == "0"


def elements(server: RunningServer, format: str = "json") -> int:
    """Return how many elements of a format are resident."""
    return int(server.info()[format].partition(",")[0].removeprefix("elements="))


def fill_and_stop(serve: Serve, state: Path) -> None:
    """Run a server that computes and saves six blocks."""
    server = serve("--state-dir", str(state))
    ask(server)
    assert server.stop() == 0
    assert len(blocks(state)) == 6


def warnings(server: RunningServer) -> list[str]:
    """Return the warnings and errors in a server's log."""
    lines = server.log.read_text().splitlines()
    return [line for line in lines if " WARNING " in line or " ERROR " in line]


def test_saved_at_the_end(serve: Serve, state: Path) -> None:
    """SIGTERM saves all blocks, and the next start loads them without a request."""
    fill_and_stop(serve, state)
    assert not list(state.glob("*.new"))
    server = serve("--state-dir", str(state))
    server.wait_until(is_loaded, "loaded")
    assert elements(server) >= N
    ask(server)
    info = server.info()
    assert info["blocks_filled"] == "6"
    assert info["snapshot_blocks"] == "6"
    assert not warnings(server)


def test_saved_while_serving(serve: Serve, state: Path) -> None:
    """Blocks are saved while serving, so they survive kill -9."""
    server = serve("--state-dir", str(state))
    ask(server)
    ask(server, 3000, "csv")
    server.wait_until(is_saved, "saved")
    server.stop(signal.SIGKILL)
    server = serve("--state-dir", str(state))
    server.wait_until(is_loaded, "loaded")
    assert elements(server) >= N
    assert elements(server, "csv") >= 3000
    ask(server, 3000, "csv")


def test_answers_while_loading(serve: Serve, state: Path) -> None:
    """Replies are right while the snapshot is being loaded."""
    fill_and_stop(serve, state)
    for format in ("json", "text"):
        ask(serve("--state-dir", str(state)), N + 500, format)


def flip(path: Path, position: int) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def damage(path: Path) -> None:
    """Corrupt the middle of a file."""
    flip(path, path.stat().st_size // 2)


def truncate(path: Path) -> None:
    """Cut off the last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def change_version(path: Path) -> None:
    """Make a file look as if written by another version."""
    flip(path, 10)


def make_unreadable(path: Path) -> None:
    """Replace a file by a link to itself, which not even root can read."""
    path.unlink()
    path.symlink_to(path)


def test_damaged_files(serve: Serve, state: Path) -> None:
    """Each kind of damage causes one warning, and the blocks are computed again."""
    fill_and_stop(serve, state)
    harms = {
        damage: "checksum mismatch",
        truncate: "wrong file size",
        change_version: "expected 1",
        make_unreadable: "unreadable",
    }
    for path, harm in zip(blocks(state)[1:5], harms, strict=True):
        harm(path)
    server = serve("--state-dir", str(state))
    server.wait_until(is_loaded, "loaded")
    assert elements(server) >= N
    ask(server)
    told = warnings(server)
    assert len(told) == len(harms)
    for message in harms.values():
        assert sum(message in each for each in told) == 1, message
    assert server.info()["worker_deaths"] == "0"
    server.wait_until(is_saved, "saved")
    server.stop()
    again = serve("--state-dir", str(state))
    again.wait_until(is_loaded, "loaded")
    assert not warnings(again)


def test_all_files_of_another_version(serve: Serve, state: Path) -> None:
    """A snapshot of another version causes one warning, and is replaced."""
    fill_and_stop(serve, state)
    for path in blocks(state):
        change_version(path)
    server = serve("--state-dir", str(state))
    ask(server)
    (warning,) = warnings(server)
    assert "ignored 6 block files: version" in warning


def test_snapshot_on_full_disk_warns(serve: Serve, tmp_path: Path, mounting: Mounting) -> None:
    """A full disk causes a warning; requests are still served."""
    state = tmp_path / "state"
    state.mkdir()
    under = mounting(f"mount -t tmpfs -o size=1m tmpfs {state}")
    server = serve("--state-dir", str(state), under=under)
    ask(server)
    server.wait_for_log("No space left on device")
    ask(server, N, "csv")
    (warning,) = warnings(server)
    assert "trying again in 30 s" in warning
    info = server.info()
    assert info["rdb_last_bgsave_status"] == "err"
    assert info["worker_deaths"] == "0"
    root = Path(f"/proc/{server.process.pid}/root")
    assert not list((root / state.relative_to("/")).glob("*.new"))
    assert server.stop() == 0


def test_a_read_only_disk(serve: Serve, tmp_path: Path, mounting: Mounting) -> None:
    """A read-only snapshot is loaded; saving to it causes one warning."""
    state = tmp_path / "state"
    fill_and_stop(serve, state)
    under = mounting(f"mount --bind -o ro {state} {state}")
    server = serve("--state-dir", str(state), under=under)
    server.wait_until(is_loaded, "loaded")
    assert elements(server) >= N
    ask(server, N, "csv")
    server.wait_for_log("Read-only file system")
    ask(server, N, "json")
    assert len(warnings(server)) == 1


def test_a_folder_that_cannot_be(serve: Serve, tmp_path: Path) -> None:
    """If `state_dir` cannot be created, the server warns and starts without it."""
    (tmp_path / "file").write_text("not a folder")
    server = serve("--state-dir", str(tmp_path / "file" / "state"))
    ask(server)
    assert "starting without" in warnings(server)[0]


def test_less_memory_than_before(serve: Serve, state: Path) -> None:
    """With a smaller `memory_limit` the server loads what fits and removes the other blocks."""
    fill_and_stop(serve, state)
    server = serve("--state-dir", str(state), FIBSERVER_MEMORY_LIMIT="2MiB")
    server.wait_until(is_loaded, "loaded")
    assert 0 < elements(server) < N
    server.wait_until(lambda _: len(blocks(state)) < 6, "the rest is removed")
    ask(server)
    assert not warnings(server)


def test_evicted_blocks_leave_the_snapshot(serve: Serve, state: Path) -> None:
    """Blocks evicted from memory are removed from the snapshot."""
    server = serve("--state-dir", str(state), FIBSERVER_MEMORY_LIMIT="4MiB")
    ask(server)
    server.wait_until(is_saved, "saved")
    before = len(blocks(state))
    ask(server, N, "csv")
    server.wait_until(
        lambda each: is_saved(each) and len(blocks(state)) < before, "files follow memory"
    )
    total = sum(path.stat().st_size for path in state.iterdir())
    assert total < 5 * 1024 * 1024
