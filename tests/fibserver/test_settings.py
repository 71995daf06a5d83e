"""Tests of the settings: sources, validation, error messages and reload."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcommon.addresses import parse_address
from fibcommon.configuration.passwords import MAX_PASSWORD_BYTES, read_password
from fibcommon.service.errors import SettingsError
from fibserver.settings import ServerSettings, is_exposed

EXAMPLE = Path(__file__).parents[2] / "systemd/fibserver.toml"
RELOADABLE = {
    "drain_timeout",
    "idle_timeout",
    "log_format",
    "log_level",
    "max_answer_bytes",
    "max_clients",
    "max_output_bytes",
    "password_file",
    "request_timeout",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings from the environment of the test run."""
    for name in [name for name in os.environ if name.upper().startswith("FIBSERVER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a settings file."""

    def write(text: str) -> Path:
        path = tmp_path / "fibserver.toml"
        path.write_text(text)
        return path

    return write


def error_lines(config: Path | None = None, **flags: object) -> list[str]:
    """Return the error lines for these settings."""
    with pytest.raises(SettingsError) as caught:
        ServerSettings.load(config, is_reload=False, **flags)
    return str(caught.value).split("\n")


# Sources.


def test_precedence_of_fibserver_settings(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line overrides the environment, which overrides the file and the defaults."""
    config = write("workers = 2\nmax_clients = 2\nmax_index = 2")
    monkeypatch.setenv("FIBSERVER_WORKERS", "3")
    monkeypatch.setenv("FIBSERVER_MAX_CLIENTS", "3")
    settings = ServerSettings.load(config, workers="4")
    found = (settings.workers, settings.max_clients, settings.max_index, settings.idle_timeout)
    assert found == (4, 3, 2, 0)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('listen = "a:1, unix:/b"\nallow_unauthenticated = true', "listen", ("a:1", "unix:/b")),
        ('listen = ["localhost:1", "unix:/b"]', "listen", ("localhost:1", "unix:/b")),
        ('workers = "auto"', "workers", len(os.sched_getaffinity(0))),
        ('workers = "3"', "workers", 3),
        ('state_dir = "/var/lib/fib"', "state_dir", Path("/var/lib/fib")),
        ('state_dir = ""', "state_dir", None),
        ('metrics_listen = "0.0.0.0:9100"', "metrics_listen", "0.0.0.0:9100"),
        ('metrics_listen = ""', "metrics_listen", None),
        ('password_file = "secret"', "password_file", Path("secret")),
        ('log_format = "json"', "log_format", "json"),
        ('memory_limit = "64MiB"', "memory_limit", 64 * 2**20),
        ("memory_limit = 0x400_0000", "memory_limit", 64 * 2**20),
        ("idle_timeout = 0.5", "idle_timeout", 0.5),
        ("idle_timeout = 0", "idle_timeout", 0),
        ("drain_timeout = 0", "drain_timeout", 0),
        ("allow_unauthenticated = true", "allow_unauthenticated", True),
    ],
)
def test_toml_types_of_fibserver_settings(
    write: Callable[[str], Path], text: str, name: str, value: object
) -> None:
    """A file can use the TOML types that suit a setting."""
    assert getattr(ServerSettings.load(write(text)), name) == value


def test_environment_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables hold the same text as options; unknown FIBSERVER_ variables are ignored."""
    monkeypatch.setenv("FIBSERVER_LISTEN", "127.0.0.1:1,unix:/run/fib")
    monkeypatch.setenv("FIBSERVER_STATE_DIR", "")
    monkeypatch.setenv("FIBSERVER_PORT", "tcp://10.0.0.1:11235")
    settings = ServerSettings.load()
    assert settings.listen == ("127.0.0.1:1", "unix:/run/fib")
    assert settings.state_dir is None


def test_misspelled_variables_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that resembles a setting is reported; those of containers are not."""
    for name in ("WORKER", "LISTEN", "SERVICE_PORT", "PORT_11235_TCP", "NAME", "NONSENSE"):
        monkeypatch.setenv(f"FIBSERVER_{name}", "1")
    assert ServerSettings.variable_warnings() == [
        "FIBSERVER_WORKER is not a setting and is ignored; did you mean FIBSERVER_WORKERS?"
    ]


def test_value_as_text_loads_again() -> None:
    """Values become text that loads again; unset ones are empty."""
    settings = ServerSettings(listen=("127.0.0.1:1", "unix:/b"), idle_timeout=0.5, workers=3)
    text = settings.as_text()
    assert text.keys() == ServerSettings.definitions().keys()
    assert text["listen"] == "127.0.0.1:1,unix:/b"
    assert text["state_dir"] == ""
    assert text["allow_unauthenticated"] == "false"
    assert (text["idle_timeout"], text["request_timeout"]) == ("0.5", "60")
    assert ServerSettings.load(None, is_reload=False, **text) == settings


# Invalid settings.

SECONDS = "up to 31,536,000 (a year)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("workers = 0", "workers: '0': must be a whole number from 1 to 1,024, or auto for one"),
        ("workers = true", "workers: 'true': must be a whole number"),
        ("workers = 1.5", "workers: '1.5': must be a whole number"),
        ("[workers]", "workers: '{}': must be a whole number"),
        ('memory_limit = "64MX"', "memory_limit: '64MX': must be a size such as 64MiB, from 1MiB"),
        ("memory_limit = 1000", "memory_limit: '1000': must be a size such as 64MiB, from 1MiB"),
        ('memory_limit = "2TiB"', "memory_limit: '2TiB': must be a size such as 64MiB"),
        ("max_answer_bytes = 0", "max_answer_bytes: '0': must be a size such as 64MiB, from 1 b"),
        ("max_answer_bytes = true", "max_answer_bytes: 'true': must be a size"),
        ("max_index = -1", "max_index: '-1': must be a whole number from 0 to 1,000,000,000,000"),
        ("max_clients = 0", "max_clients: '0': must be a whole number from 1 to 1,000,000"),
        (
            "request_timeout = 0",
            f"request_timeout: '0': must be a number of seconds above 0 {SECONDS}",
        ),
        ("idle_timeout = nan", "idle_timeout: 'nan': must be a number of seconds from 0"),
        ("request_timeout = inf", "request_timeout: 'inf': must be a number of seconds above 0"),
        ("request_timeout = true", "request_timeout: 'true': must be a number of seconds"),
        (
            "drain_timeout = -1",
            f"drain_timeout: '-1': must be a number of seconds from 0 {SECONDS}",
        ),
        ('log_level = "loud"', "log_level: 'loud': must be debug, info, warning or error"),
        ('log_format = "xml"', "log_format: 'xml': must be plain or json"),
        ('allow_unauthenticated = "?"', "allow_unauthenticated: '?': must be true or false"),
        ('state_dir = "here"', "state_dir: 'here': must be the absolute path of a directory"),
        ("state_dir = 1", "state_dir: '1': must be the absolute path of a directory"),
        ('metrics_listen = "9100"', "metrics_listen: '9100': must be HOST:PORT"),
        ('metrics_listen = "unix:/x"', "metrics_listen: 'unix:/x': must be HOST:PORT"),
        ("password_file = 1", "password_file: '1': must be the path of a file"),
        ('listen = "nowhere"', "listen: 'nowhere': must be HOST:PORT or unix:/path"),
        ('listen = ""', "listen: '': must be HOST:PORT or unix:/path"),
        ("listen = []", "listen: '': must be HOST:PORT or unix:/path"),
        ("listen = [1]", "listen: '1': must be HOST:PORT or unix:/path"),
        ("listen = 1", "listen: '1': must be HOST:PORT or unix:/path"),
        ('listen = "a\\nb"', "listen: 'a\\nb': must be HOST:PORT or unix:/path"),
        ('listen = ["localhost:1", "b"]', "listen: 'b': must be HOST:PORT or unix:/path"),
    ],
)
def test_invalid_value_is_reported_in_one_line(
    write: Callable[[str], Path], text: str, line: str
) -> None:
    """The error is one line with name, value and allowed values."""
    (found,) = error_lines(write(text))
    assert found.startswith(line)


def test_all_invalid_values_are_reported(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All errors are reported together, one line each, whatever the source."""
    config = write('listen = ["a", "b"]\nlog_level = "loud"\nnonsense = 1')
    monkeypatch.setenv("FIBSERVER_MAX_INDEX", "many")
    lines = error_lines(config, workers="0")
    names = Counter(line.removeprefix(f"{config}: ").split(":")[0] for line in lines)
    assert names.pop("listen") == 2
    assert {"log_level", "max_index", "workers"} < names.keys()
    assert len(lines) == 6


def test_long_values_are_cut() -> None:
    """A message quotes only the beginning of a long value."""
    (line,) = error_lines(memory_limit="9" * 10_000)
    assert line.startswith(f"memory_limit: '{'9' * 100} [9900 characters cut]': must be a size")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("worker", "did you mean workers?"),
        ("memory-limit", "did you mean memory_limit?"),
        ("nonsense", "the settings are listen, workers, state_dir, "),
    ],
)
def test_unknown_setting_suggests_similar_name(
    write: Callable[[str], Path], name: str, hint: str
) -> None:
    """The error for an unknown name suggests a similar one."""
    config = write(f"{name} = 1")
    (line,) = error_lines(config)
    assert line.startswith(f"{config}: unknown setting '{name}'; {hint}")


def test_unreadable_settings_file_is_one_line(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    """A missing, invalid or non-text file is one error line with its path."""
    assert error_lines(tmp_path / "none") == [f"{tmp_path / 'none'}: No such file or directory"]
    assert error_lines(tmp_path) == [f"{tmp_path}: Is a directory"]
    config = write("workers = 1\nlisten: here")
    (line,) = error_lines(config)
    assert line.startswith(f"{config}: ")
    assert "line 2" in line
    config.write_bytes(b"listen = '\xff'")
    (line,) = error_lines(config)
    assert line.startswith(f"{config}: 'utf-8' codec can't decode")


# Exposure and the password.


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("127.0.0.1:1", False),
        ("127.8.8.8:1", False),
        ("[::1]:1", False),
        ("localhost:1", False),
        ("unix:/run/fib", False),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("192.168.0.1:1", True),
        ("example.org:1", True),
    ],
)
def test_exposed_address_needs_password(address: str, exposed: bool) -> None:
    """An exposed address needs `password_file` or `allow_unauthenticated`."""
    assert is_exposed(parse_address(address)) == exposed
    if exposed:
        assert error_lines(listen=["localhost:1", address]) == [
            f"listen: {address!r}: other machines can reach this address: set password_file "
            "to require a password, or allow_unauthenticated = true to serve them without one"
        ]
    ServerSettings.load(listen=address, password_file="secret")
    ServerSettings.load(listen=address, allow_unauthenticated="yes")


def test_each_exposed_address_is_reported() -> None:
    """Each exposed address has an error line."""
    lines = error_lines(listen="0.0.0.0:1,[::]:1")
    assert [line.split(": ")[1] for line in lines] == ["'0.0.0.0:1'", "'[::]:1'"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nmore\n"])
@pytest.mark.parametrize("password", [b"x", b" two words ", b"\xff" * MAX_PASSWORD_BYTES])
def test_password_is_first_line_of_file(tmp_path: Path, password: bytes, end: bytes) -> None:
    """The password is the first line of its file, byte for byte."""
    path = tmp_path / "password"
    path.write_bytes(password + end)
    assert read_password(path) == password


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\r\n", b"\nmore", b"x" * 513, b"x" * 513 + b"\n"]
)
def test_invalid_password_is_rejected(tmp_path: Path, content: bytes) -> None:
    """An empty or too long password is rejected."""
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"1 to 512 bytes$") as caught:
        read_password(path)
    assert str(caught.value).startswith(f"password_file: '{path}': ")


def test_unreadable_password_file_is_rejected(tmp_path: Path) -> None:
    """An unreadable password file is rejected with the reason."""
    for path, reason in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "embedded null byte"),
    ):
        with pytest.raises(SettingsError) as caught:
            read_password(path)
        assert str(caught.value) == f"password_file: {str(path)!r}: cannot be read: {reason}"


# Reloading.


def test_reload_applies_reloadable_settings() -> None:
    """A reload applies the reloadable settings, and names those that need a restart."""
    current = ServerSettings.load(workers="1", log_level="info", max_index="5", drain_timeout="1")
    fresh = ServerSettings.load(workers="2", log_level="debug", max_index="6", drain_timeout="1")
    settings, changed, needs_restart = current.reloaded(fresh)
    assert settings == ServerSettings.load(
        workers="1", log_level="debug", max_index="5", drain_timeout="1"
    )
    assert changed == ["log_level"]
    assert needs_restart == ["workers", "max_index"]


def test_reload_of_equal_settings_changes_nothing() -> None:
    """A reload of equal settings reports no change."""
    current = ServerSettings.load()
    assert current.reloaded(ServerSettings.load()) == (current, [], [])


def test_reloadable_settings() -> None:
    """These settings are reloadable, no others."""
    definitions = ServerSettings.definitions()
    assert {name for name in definitions if definitions[name].is_reloadable} == RELOADABLE


def test_a_reload_exposes_nothing() -> None:
    """A reload cannot remove the password of an exposed server."""
    current = ServerSettings.load(listen="0.0.0.0:1", password_file="secret")
    with pytest.raises(SettingsError, match="other machines can reach this address"):
        current.reloaded(ServerSettings.load(password_file=""))


# The example.


def test_example_has_the_defaults(write: Callable[[str], Path]) -> None:
    """The example loads as it is, and with all settings uncommented; both give the defaults."""
    assert ServerSettings.load(EXAMPLE) == ServerSettings()
    text = re.sub(r"^#(?=\w+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    settings = ServerSettings.load(write(text))
    assert settings == ServerSettings()
    assert settings.given == ServerSettings.definitions().keys()
