"""Tests for the settings of fibweb."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcommon.service.errors import SettingsError
from fibweb.settings import WebSettings

EXAMPLE = Path(__file__).parents[2] / "systemd/fibweb.toml"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings in the environment of the tests."""
    for name in [name for name in os.environ if name.upper().startswith("FIBWEB_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a settings file."""

    def write(text: str) -> Path:
        path = tmp_path / "fibweb.toml"
        path.write_text(text)
        return path

    return write


def test_precedence_of_fibweb_settings(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options override the environment, which overrides the file, which overrides the defaults."""
    config = write("threads = 2\nprocesses = 2\nmax_connections = 2\nembedded = true")
    monkeypatch.setenv("FIBWEB_THREADS", "3")
    monkeypatch.setenv("FIBWEB_PROCESSES", "3")
    settings = WebSettings.load(config, threads="4")
    found = (settings.threads, settings.processes, settings.max_connections, settings.timeout)
    assert found == (4, 3, 2, 60)
    assert settings.embedded


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('listen = "a:1, unix:/b"', "listen", ("a:1", "unix:/b")),
        ('servers = ["a:1", "unix:/b"]', "servers", ("a:1", "unix:/b")),
        ('password_file = ""', "password_file", None),
        ('cache_bytes = "0"', "cache_bytes", 0),
        ('cache_bytes = "1GiB"', "cache_bytes", 2**30),
        ('root_path = ""', "root_path", ""),
        ('root_path = "/a/b-c"', "root_path", "/a/b-c"),
        ('allowed_origins = ""', "allowed_origins", ()),
        ("allowed_origins = []", "allowed_origins", ()),
        ('allowed_origins = "*"', "allowed_origins", ("*",)),
        (
            'allowed_origins = "https://a.example, http://[::1]:8080"',
            "allowed_origins",
            ("https://a.example", "http://[::1]:8080"),
        ),
        ("access_log = true", "access_log", True),
        ("drain_timeout = 0", "drain_timeout", 0),
        ('log_format = "json"', "log_format", "json"),
    ],
)
def test_toml_types_of_fibweb_settings(
    write: Callable[[str], Path], text: str, name: str, value: object
) -> None:
    """A setting in a file may have any suitable TOML type."""
    assert getattr(WebSettings.load(write(text)), name) == value


ROOT_PATH = "must be a path such as /numbers, without a trailing slash, or empty"
ORIGINS = "must be comma-separated origins such as https://example.org, or *, or empty"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("threads = 0", "threads: '0': must be a whole number from 1 to 256"),
        ("processes = 65", "processes: '65': must be a whole number from 1 to 64"),
        ("processes = true", "processes: 'true': must be a whole number"),
        ("max_connections = 0", "max_connections: '0': must be a whole number from 1 to 1,000"),
        ("cache_bytes = -1", "cache_bytes: '-1': must be a size such as 64MiB, from 0 to 1TiB"),
        ("timeout = 0", "timeout: '0': must be a number of seconds above 0"),
        ("drain_timeout = -1", "drain_timeout: '-1': must be a number of seconds from 0"),
        ('access_log = "?"', "access_log: '?': must be true or false"),
        ('embedded = "?"', "embedded: '?': must be true or false"),
        ('listen = ""', "listen: '': must be HOST:PORT or unix:/path"),
        ('servers = "a/b"', "servers: 'a/b': must be HOST, HOST:PORT, unix:/path or srv:NAME"),
        ("password_file = 1", "password_file: '1': must be the path of a file"),
        ('allowed_origins = "example.org"', f"allowed_origins: 'example.org': {ORIGINS}"),
        ('allowed_origins = "https://a/"', f"allowed_origins: 'https://a/': {ORIGINS}"),
        ('allowed_origins = "https://A"', f"allowed_origins: 'https://A': {ORIGINS}"),
        ("allowed_origins = 1", f"allowed_origins: '1': {ORIGINS}"),
        ('root_path = "f"', f"root_path: 'f': {ROOT_PATH}"),
        ('root_path = "/f/"', f"root_path: '/f/': {ROOT_PATH}"),
        ('root_path = "/a%20b"', f"root_path: '/a%20b': {ROOT_PATH}"),
        ('log_level = "loud"', "log_level: 'loud': must be debug, info, warning or error"),
    ],
)
def test_invalid_web_setting_is_reported_in_one_line(
    write: Callable[[str], Path], text: str, line: str
) -> None:
    """An invalid value is reported in one line with the name, the value and the allowed values."""
    with pytest.raises(SettingsError) as caught:
        WebSettings.load(write(text))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_reload_applies_reloadable_web_settings() -> None:
    """A reload applies the reloadable settings and reports those that need a restart."""
    current = WebSettings()
    fresh = WebSettings(log_level="debug", access_log=True, threads=7, listen=("a:1",))
    settings, changed, left = current.reloaded(fresh)
    assert sorted(changed) == ["access_log", "log_level"]
    assert sorted(left) == ["listen", "threads"]
    assert settings == WebSettings(log_level="debug", access_log=True)


def test_reloadable_settings_of_fibweb() -> None:
    """These settings are reloadable, no others."""
    definitions = WebSettings.definitions()
    reloadable = {name for name in definitions if definitions[name].is_reloadable}
    assert reloadable == {"access_log", "drain_timeout", "log_format", "log_level"}


def test_the_example_has_the_defaults(write: Callable[[str], Path]) -> None:
    """The example loads as it is, and with all settings uncommented; both give the defaults."""
    assert WebSettings.load(EXAMPLE) == WebSettings()
    text = re.sub(r"^#(?=\w+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    settings = WebSettings.load(write(text))
    assert settings == WebSettings()
    assert settings.given == WebSettings.definitions().keys()
