"""`export` as a command."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibclient.export.plan import EXPORT_FORMATS, ExportPlan
from tests.support.expected import expected, reply
from tests.support.fake_server import Script, fake_server
from tests.support.fibclient_command import COMMAND, fibclient, on_terminal
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

PARTS = 5
RANGE = ("export", "10", "2000", "--parts", str(PARTS))
PLAN = ExportPlan.of(10, 2000, "csv", PARTS)
NAMES = [part.name for part in PLAN.parts]


@pytest.fixture(scope="module")
def exported(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export; tests change copies of it."""
    folder = tmp_path_factory.mktemp("exported") / "numbers"
    done = fibclient("-s", server.address, *RANGE, "-f", "csv", "--to", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"{folder}/manifest.json: 1,990 numbers in 5 parts, 428.9 kB; 5 "
    )
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the export, to change."""
    return Path(shutil.copytree(exported, tmp_path / "numbers"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format", [name for name in EXPORT_FORMATS if name != "parquet"])
def test_export_in_each_format(server: RunningServer, format: str, tmp_path: Path) -> None:
    """The parts have the numbers, and manifest and checksums describe them."""
    done = fibclient("-s", server.address, *RANGE, "--to", str(tmp_path), "-f", format)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["start"], manifest["stop"], manifest["format"]) == (10, 2000, format)
    assert len(manifest["parts"]) == PARTS
    for entry in manifest["parts"]:
        data = (tmp_path / entry["name"]).read_bytes()
        numbers = expected(format, entry["start"], entry["stop"])
        assert data == (b"[%b]\n" % numbers if format == "json" else numbers)
        checksum = hashlib.sha256(data).hexdigest()
        assert (entry["size"], entry["sha256"]) == (len(data), checksum)
        beside = (tmp_path / f"{entry['name']}.sha256").read_text()
        assert beside == f"{checksum}  {entry['name']}\n"
    assert len(contents(tmp_path)) == 2 * PARTS + 1


def test_same_files_with_any_number_of_jobs(
    server: RunningServer, exported: Path, tmp_path: Path
) -> None:
    """One job or many at once write the same parts and the same manifest."""
    for jobs in ("1", "8"):
        folder = tmp_path / jobs
        arguments = ("-f", "csv", "--to", str(folder), "--jobs", jobs)
        assert fibclient("-s", server.address, *RANGE, *arguments).returncode == 0
        assert contents(folder) == contents(exported)


def test_complete_export_needs_no_server(copy: Path) -> None:
    """Repeating the command writes nothing and sends no request."""
    done = fibclient("-s", "127.0.0.1:1", *RANGE, "-f", "csv", "--to", str(copy))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("5 parts, 428.9 kB; all were complete\n")


def test_empty_export_is_a_manifest(tmp_path: Path) -> None:
    """Without numbers there is only the manifest."""
    done = fibclient("-s", "127.0.0.1:1", "export", "5", "5", "--to", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(contents(tmp_path)) == ["manifest.json"]
    assert fibclient("export", "--to", str(tmp_path), "--check").returncode == 0


@pytest.mark.parametrize("damage", ["part", "checksum", "size", "line"])
def test_incomplete_parts_are_written_again(
    server: RunningServer, exported: Path, copy: Path, damage: str
) -> None:
    """A part is written again if it is missing, has another size, or has no checksum."""
    part, checksum = copy / NAMES[2], copy / f"{NAMES[2]}.sha256"
    (copy / "manifest.json").unlink()
    if damage == "part":
        part.unlink()
    elif damage == "size":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "checksum":
        checksum.unlink()
    else:
        checksum.write_text("")
    done = fibclient("-s", server.address, *RANGE, "-f", "csv", "--to", str(copy), "--json")
    summary = json.loads(done.stdout)
    assert summary.pop("seconds") > 0
    assert summary == {
        "start": 10,
        "stop": 2000,
        "format": "csv",
        "manifest": f"{copy}/manifest.json",
        "parts": PARTS,
        "bytes": sum(part.size or 0 for part in PLAN.parts),
        "written_parts": 1,
    }
    assert contents(copy) == contents(exported)


def hangs_from(start: int, is_hanging: threading.Event) -> Script:
    """Return a script that replies to FIB.RANGE in `csv`, but in part from an index on."""

    def script(words: list[bytes]) -> bytes | Iterator[bytes] | None:
        if words[0] == b"FIB.SIZE":
            return b":1\r\n"
        first, stop = int(words[1]), int(words[2])
        whole = reply("csv", first, stop)
        if first < start:
            return whole
        is_hanging.set()
        return whole[: len(whole) // 2]

    return script


def test_killed_export_continues(server: RunningServer, exported: Path, tmp_path: Path) -> None:
    """After SIGKILL, complete parts are kept, and the result is that of an undisturbed export."""
    arguments = [*RANGE, "--format", "csv", "--to", str(tmp_path), "--jobs", "1"]
    is_hanging = threading.Event()
    with fake_server(hangs_from(PLAN.parts[2].start, is_hanging)) as fake:
        child = subprocess.Popen([*COMMAND, "-s", fake.address, *arguments])
        try:
            assert is_hanging.wait(DEADLINE_SECONDS)
            wait_until(lambda: any(tmp_path.glob(f".{NAMES[2]}.*")), "a part begun")
        finally:
            child.kill()
            child.wait()
    complete = [name for name in NAMES if (tmp_path / name).exists()]
    assert complete == NAMES[:2]
    assert not (tmp_path / "manifest.json").exists()
    written = {name: (tmp_path / name).stat().st_mtime_ns for name in complete}

    done = fibclient("-s", server.address, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "; 3 written in " in done.stdout
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in complete} == written
    assert contents(tmp_path) == contents(exported)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_export_says_how_to_continue(number: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end a silent request at once, and remove what is incomplete."""
    is_hanging = threading.Event()
    with fake_server(hangs_from(PLAN.parts[2].start, is_hanging)) as fake:
        child = subprocess.Popen(
            [*COMMAND, "-s", fake.address, *RANGE, "-f", "csv", "--to", str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert is_hanging.wait(DEADLINE_SECONDS)
        names = [*NAMES[:2], *(f"{name}.sha256" for name in NAMES[:2])]
        wait_until(lambda: all((tmp_path / name).exists() for name in names), "two parts")
        child.send_signal(number)
        _, errors = child.communicate(timeout=DEADLINE_SECONDS)
    assert child.returncode == 128 + number
    assert errors == "complete parts are kept: repeat the command to continue\n"
    assert set(contents(tmp_path)) == set(names)


def test_check_finds_nothing_wrong(copy: Path) -> None:
    """The files of an export are correct, with and without its arguments."""
    for arguments in (["export"], [*RANGE, "--format", "csv"]):
        done = fibclient(*arguments, "--to", str(copy), "--check")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("1,990 numbers in 5 parts, 428.9 kB; all are correct\n")


def test_check_names_what_is_wrong(copy: Path) -> None:
    """Each missing or damaged file is named, with exit code 1."""
    (copy / NAMES[0]).unlink()
    with (copy / NAMES[1]).open("ab") as file:
        file.write(b"x")
    with (copy / NAMES[3]).open("r+b") as file:
        file.write(b"x")
    done = fibclient("export", "--to", str(copy), "--check")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{NAMES[0]} is missing"
    size = PLAN.parts[1].size or 0
    assert lines[1] == f"{NAMES[1]} has {size + 1:,} bytes instead of {size:,}"
    assert lines[2].startswith(f"{NAMES[3]} has the SHA-256 ")
    assert len(lines) == 3
    assert "repeat the command without --check" in done.stderr

    done = fibclient("export", "--to", str(copy), "--check", "--json")
    summary = json.loads(done.stdout)
    assert (summary["is_correct"], done.returncode) == (False, 1)
    assert [finding["name"] for finding in summary["findings"]] == [*NAMES[:2], NAMES[3]]


def test_check_of_incomplete_export(copy: Path) -> None:
    """Without a manifest, the arguments tell which parts are missing."""
    (copy / "manifest.json").unlink()
    (copy / NAMES[0]).unlink()
    (copy / f"{NAMES[1]}.sha256").unlink()
    done = fibclient(*RANGE, "--format", "csv", "--to", str(copy), "--check")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{NAMES[0]} is missing",
        f"{NAMES[1]} is incomplete",
        "manifest.json is missing",
    ]
    done = fibclient("export", "--to", str(copy), "--check")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{copy}/manifest.json does not exist" in done.stderr


def test_folder_of_another_export_is_rejected(copy: Path) -> None:
    """Parts of two exports are not mixed, whether the older one is complete or not."""
    other = ("export", "10", "2000", "--parts", "7", "--to", str(copy), "--format", "csv")
    done = fibclient(*other)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is of another export: 10 2000 in 5 parts as csv" in done.stderr
    (copy / "manifest.json").unlink()
    done = fibclient(*other)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{NAMES[0]} is part of another export" in done.stderr


def test_invalid_manifest_is_rejected(copy: Path) -> None:
    """A manifest that cannot be read is an error with the reason."""
    (copy / "manifest.json").write_text("{}")
    done = fibclient("export", "--to", str(copy), "--check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "manifest.json is invalid: " in done.stderr


def test_export_beyond_limit_is_rejected(server: RunningServer, tmp_path: Path) -> None:
    """Numbers beyond the server's limit are rejected before anything is written."""
    folder = tmp_path / "numbers"
    done = fibclient(
        *("-s", server.address, "export", "99999999999", "99999999999999"),
        *("--parts", "3", "--to", str(folder)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert ": LIMIT F(99999999999998) is too large: max_index is 10000000" in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["5"], 2, "START and STOP are missing"),
        ([], 2, "START and STOP are missing"),
        (["5", "4"], 2, "STOP (4) is less than START (5)"),
        (["-1", "4"], 2, "'-1' is not a whole number from 0"),
        (["0", "9", "--parts", "0"], 2, "'0' is not a whole number from 1"),
        (["0", "9", "--jobs", "65"], 2, "'65' is not a whole number from 1 to 64"),
        (["0", "9", "--format", "array"], 2, "'array' is not one of"),
        (["--check", "--format", "csv"], 2, "--format and --parts require START and STOP"),
        (["0", "9", "--jobs", "2", "--dask", "a:1"], 2, "cannot be combined with --dask"),
        (["0", "9", "--dask", "a:b"], 2, "'a:b': expected tcp://HOST:PORT"),
        (["0", "9", "--to", ""], 2, "the folder is empty"),
        (["0", "9", "--to", "/dev/null/x"], 1, "/dev/null/x"),
        (["0", "9", "--to", __file__], 2, "is a file"),
        (["0", "9"], 3, "cannot connect to 127.0.0.1:1"),
    ],
)
def test_failures_have_exit_codes(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    """Each failure has its exit code and one error message."""
    address = ("-s", "127.0.0.1:1", "--timeout", "0.2")
    done = fibclient(*address, "export", "--to", str(tmp_path / "x"), *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("fsspec", ["--to", "s3://bucket/x"], "export"),
        ("pyarrow", ["--to", "x", "--format", "parquet"], "parquet"),
        ("distributed", ["--to", "x", "--dask", "tcp://127.0.0.1:1"], "dask"),
    ],
)
def test_missing_package_is_named(
    module: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    """The error names the package and the extra that installs it."""
    program = (
        f"import sys; sys.modules[{module!r}] = None; "
        "from fibclient.cli import main; sys.argv[0] = 'fibclient'; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "0", "9", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"needs {module}: pip install 'fibservice[{extra}]'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_export_on_terminal_shows_progress(server: RunningServer, tmp_path: Path) -> None:
    """A large export shows a progress bar before the result, elsewhere none."""
    arguments = ("export", "0", "11000", "--parts", "3", "--to")
    screen = on_terminal("-s", server.address, *arguments, str(tmp_path / "a"), columns=120)
    assert screen.code == 0
    assert "100%" in screen.text
    assert "12.7/12.7 MB" in screen.text
    assert "3 written in" in screen.lines[-1]
    done = fibclient("-s", server.address, *arguments, str(tmp_path / "b"))
    assert (done.returncode, done.stderr) == (0, "")
