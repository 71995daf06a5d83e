"""Exports with what the extras install: a Dask cluster, S3, Parquet; and the memory they take."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fibclient.export.optional import optional
from tests.support.dask_cluster import DaskCluster, dask_cluster
from tests.support.expected import digits, reply
from tests.support.fake_server import fake_server
from tests.support.fibclient_command import fibclient
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.shipping

MAX_EXTRA_BYTES = 64 * 1024 * 1024

LARGE = ("export", "0", "40000", "--parts", "4", "--format")
"""168 MB as text."""

REPORTING_PEAK = """
import atexit, re, sys
def report():
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
atexit.register(report)
from fibclient.cli import main
main()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskCluster]:
    """A Dask cluster that the tests of this module share."""
    with dask_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment variables of an S3 in memory, with a bucket named `bucket`."""
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=out,
            stderr=out,
        )
    try:
        listening = re.compile(r"Running on (http://\S+)")
        wait_until(lambda: listening.search(log.read_text()) is not None, "an S3")
        found = listening.search(log.read_text())
        assert found is not None
        environment = {
            "AWS_ENDPOINT_URL": found[1],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        files = optional("fsspec", "export", "the test").filesystem(
            "s3", endpoint_url=found[1], key="test", secret="test"
        )
        files.mkdir("bucket")
        yield environment
    finally:
        child.terminate()
        child.wait(DEADLINE_SECONDS)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def peak_bytes(process: psutil.Process) -> int:
    """Return the most memory that a process has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_same_files_from_a_cluster(
    server: RunningServer, cluster: DaskCluster, format: str, tmp_path: Path
) -> None:
    """The workers of a cluster write the same parts, and so the same manifest."""
    arguments = ("export", "0", "5000", "--parts", "7", "--format", format, "--to")
    for folder, runner in (("a", ["--jobs", "1"]), ("b", ["--dask", cluster.address])):
        done = fibclient("-s", server.address, *arguments, str(tmp_path / folder), *runner)
        assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    done = fibclient("export", "--to", str(tmp_path / "b"), "--check", "--dask", cluster.address)
    assert (done.returncode, done.stderr) == (0, "")


def test_export_survives_killed_workers(
    server: RunningServer, cluster: DaskCluster, tmp_path: Path
) -> None:
    """The parts of workers that are killed are written by others."""
    is_hanging, is_over = threading.Event(), threading.Event()

    def script(words: list[bytes]) -> bytes | None:
        if words[0] == b"FIB.SIZE":
            return b":1\r\n"
        whole = reply("csv", int(words[1]), int(words[2]))
        if int(words[1]) < 2000 or is_over.is_set():
            return whole
        is_hanging.set()
        return whole[: len(whole) // 2]

    arguments = ("export", "0", "5000", "--parts", "7", "--format", "csv", "--to")
    done = fibclient("-s", server.address, *arguments, str(tmp_path / "a"))
    assert done.returncode == 0
    with fake_server(script) as fake:
        thread_result = []

        def run() -> None:
            runner = ("--dask", cluster.address)
            thread_result.append(
                fibclient("-s", fake.address, *arguments, str(tmp_path / "b"), *runner)
            )

        thread = threading.Thread(target=run)
        thread.start()
        assert is_hanging.wait(DEADLINE_SECONDS)
        is_over.set()
        for worker in cluster.workers():
            worker.kill()
        thread.join(2 * DEADLINE_SECONDS)
    (done,) = thread_result
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_workers_need_the_same_folder(server: RunningServer, cluster: DaskCluster) -> None:
    """Files that the workers write elsewhere are missed, and no manifest is written."""
    arguments = ("export", "0", "9", "--to", "memory://numbers", "--dask", cluster.address)
    done = fibclient("-s", server.address, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "was written, but is not there: all workers need the same folder" in done.stderr


def test_error_of_a_worker_is_that_of_the_command(cluster: DaskCluster, tmp_path: Path) -> None:
    """A failure at a worker has the message and the exit code that it has without a cluster."""
    address = ("-s", "127.0.0.1:1", "--timeout", "5")
    to = ("--to", str(tmp_path), "--dask", cluster.address)
    done = fibclient(*address, "export", "0", "9", *to)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot connect to 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_scheduler(tmp_path: Path) -> None:
    """Without a scheduler at the address, the error names it."""
    arguments = ("export", "0", "9", "--to", str(tmp_path), "--dask", "tcp://127.0.0.1:1")
    done = fibclient("--timeout", "1", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fibclient: tcp://127.0.0.1:1: no Dask scheduler replies there")


def test_export_to_s3(server: RunningServer, s3: dict[str, str]) -> None:
    """An export to a bucket is written, checked, and found complete."""
    to = ("--to", "s3://bucket/some/numbers")
    arguments = ("-s", server.address, "export", "0", "15000", "--parts", "2", "-f", "csv", *to)
    done = fibclient(*arguments, **s3)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 written in" in done.stdout
    done = fibclient("export", *to, "--check", **s3)
    assert (done.returncode, done.stderr) == (0, "")
    assert fibclient(*arguments, **s3).stdout.endswith("all were complete\n")


def test_missing_bucket_is_not_created(server: RunningServer, s3: dict[str, str]) -> None:
    """A misspelled bucket is an error."""
    to = ("--to", "s3://buckte/numbers")
    for _ in range(2):
        done = fibclient("-s", server.address, "export", "0", "9", *to, **s3)
        assert (done.returncode, done.stdout) == (1, "")
        assert "The specified bucket does not exist" in done.stderr


def test_parquet_has_the_numbers(server: RunningServer, tmp_path: Path) -> None:
    """Each row has an index and the digits of its number, in row groups of limited size."""
    arguments = ("export", "5", "9000", "--parts", "2", "-f", "parquet", "--to", str(tmp_path))
    done = fibclient("-s", server.address, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    parquet = optional("pyarrow.parquet", "parquet", "the test")
    rows: list[tuple[int, str]] = []
    for entry in json.loads((tmp_path / "manifest.json").read_text())["parts"]:
        with parquet.ParquetFile(tmp_path / entry["name"]) as file:
            assert file.metadata.num_rows == entry["stop"] - entry["start"]
            groups = [file.metadata.row_group(each) for each in range(file.num_row_groups)]
            assert max(group.total_byte_size for group in groups) < 5_000_000
            columns = file.read().to_pydict()
        rows += zip(columns["n"], columns["value"], strict=True)
    assert rows == list(zip(range(5, 9000), digits(5, 9000), strict=True))


@pytest.mark.parametrize(
    ("format", "to"), [("csv", "folder"), ("json", "s3"), ("parquet", "folder")]
)
def test_memory_of_an_export(
    server: RunningServer, s3: dict[str, str], format: str, to: str, tmp_path: Path
) -> None:
    """A large export takes at most 64 MiB more than one of ten numbers."""
    peaks = []
    for number, arguments in enumerate([("export", "0", "10", "--format"), LARGE]):
        folder = f"s3://bucket/memory/{number}" if to == "s3" else str(tmp_path / str(number))
        command = (*arguments, format, "--to", folder, "--server", server.address)
        done = subprocess.run(
            [sys.executable, "-c", REPORTING_PEAK, *command],
            env={**psutil.Process().environ(), **s3},
            capture_output=True,
            text=True,
            check=True,
            timeout=4 * DEADLINE_SECONDS,
        )
        peaks.append(int(done.stderr) * 1024)
    assert peaks[1] - peaks[0] < MAX_EXTRA_BYTES


def test_memory_of_workers(server: RunningServer, cluster: DaskCluster, tmp_path: Path) -> None:
    """A worker of a cluster takes at most 64 MiB more than an idle one."""
    wait_until(lambda: len(cluster.workers()) == 2, "two workers")
    idle = {worker: worker.memory_info().rss for worker in cluster.workers()}
    arguments = (*LARGE, "csv", "--to", str(tmp_path), "--dask", cluster.address)
    done = fibclient("-s", server.address, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for worker, before in idle.items():
        assert peak_bytes(worker) - before < MAX_EXTRA_BYTES
