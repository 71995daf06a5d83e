"""Text files with byte order marks, as settings and as passwords."""

import codecs
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcommon.configuration.passwords import MAX_PASSWORD_BYTES, read_password
from fibcommon.configuration.text_files import MAX_FILE_BYTES
from fibcommon.service.errors import SettingsError
from fibserver.settings import ServerSettings
from fibweb.settings import WebSettings

WIDE = ["utf-16", "utf-32"]
Load = Callable[..., ServerSettings | WebSettings]
LOADERS = [ServerSettings.load, WebSettings.load]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_settings_with_byte_order_mark(load: Load, encoding: str, tmp_path: Path) -> None:
    """A settings file may begin with a byte order mark."""
    config = tmp_path / "settings.toml"
    config.write_text('log_level = "debug"\r\n', encoding=encoding)
    assert load(config).log_level == "debug"


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("encoding", WIDE)
def test_settings_in_utf_16_are_rejected(load: Load, encoding: str, tmp_path: Path) -> None:
    """A settings file in another encoding is rejected with a remedy."""
    config = tmp_path / "settings.toml"
    config.write_text('log_level = "debug"\n', encoding=encoding)
    with pytest.raises(SettingsError, match=r"^/.*: the byte order mark .*; save it as UTF-8$"):
        load(config)


@pytest.mark.parametrize("password", ["x", "p\u00e4ss", "x" * MAX_PASSWORD_BYTES])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_password_with_byte_order_mark(password: str, end: str, tmp_path: Path) -> None:
    """A byte order mark is not part of the password and does not count towards its length."""
    path = tmp_path / "password"
    encoded = password.encode()[:MAX_PASSWORD_BYTES]
    path.write_bytes(codecs.BOM_UTF8 + encoded + end.encode())
    assert read_password(path) == encoded


@pytest.mark.parametrize(
    "data", [*("secret\r\n".encode(encoding) for encoding in WIDE), b"\xfe\xff\0s"]
)
def test_password_in_utf_16_is_rejected(data: bytes, tmp_path: Path) -> None:
    """A password file in another encoding is rejected."""
    path = tmp_path / "password"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"^password_file: .*; save it as UTF-8$"):
        read_password(path)


def test_a_mark_alone_is_no_password(tmp_path: Path) -> None:
    """An empty file with a byte order mark has no password."""
    path = tmp_path / "password"
    path.write_bytes(codecs.BOM_UTF8 + b"\n")
    with pytest.raises(SettingsError, match=r"must have 1 to 512 bytes$"):
        read_password(path)


def piped(data: bytes) -> Path:
    """Return the path of a pipe, as from a shell's `<(…)`."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return Path(f"/dev/fd/{reader}")


@pytest.mark.parametrize("load", LOADERS)
def test_reload_keeps_settings_from_pipe(load: Load, tmp_path: Path) -> None:
    """A reload uses the settings that were read from a pipe at the start."""
    config = piped(b'log_level = "debug"\n')
    assert load(config).log_level == "debug"
    assert load(config, is_reload=True).log_level == "debug"


def test_reload_keeps_password_from_pipe() -> None:
    """A reload uses the password that was read from a pipe at the start."""
    path = piped(b"secret\n")
    assert read_password(path) == b"secret"
    assert read_password(path, is_reload=True) == b"secret"


@pytest.mark.parametrize("load", LOADERS)
def test_reload_reads_file_that_replaces_pipe(load: Load, tmp_path: Path) -> None:
    """A regular file that replaces a pipe is read by a reload."""
    config = tmp_path / "settings.toml"
    config.symlink_to(piped(b'log_level = "debug"\n'))
    assert load(config).log_level == "debug"
    config.unlink()
    assert load(config, is_reload=True).log_level == "debug", "it is kept while there is no file"
    config.write_text('log_level = "error"\n')
    assert load(config, is_reload=True).log_level == "error"
    config.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        load(config, is_reload=True)  # the contents of the pipe do not come back


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("is_reload", [False, True])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("listen = " + 5000 * "[", "nested too deeply"),
        ("#" * (MAX_FILE_BYTES + 1), "larger than 1,048,576 bytes"),
    ],
)
def test_invalid_files_do_not_harm_a_reload(
    load: Load, tmp_path: Path, is_reload: bool, text: str, reason: str
) -> None:
    """No contents of a file can stop a service that reloads, or cost it much time or memory."""
    config = tmp_path / "settings.toml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=f": {reason}$"):
        load(config, is_reload=is_reload)


def test_endless_device_is_rejected() -> None:
    """A device without an end is rejected."""
    with pytest.raises(SettingsError, match=r"^/dev/zero: larger than"):
        ServerSettings.load(Path("/dev/zero"))


def test_reload_does_not_wait_for_pipe(tmp_path: Path) -> None:
    """A reload does not wait for the writer of a FIFO."""
    path = tmp_path / "password"
    path.write_text("secret\n")
    assert read_password(path) == b"secret"
    path.write_text("another\n")
    assert read_password(path, is_reload=True) == b"another"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SettingsError, match="not a regular file: it can be read only at"):
        read_password(path, is_reload=True)


def test_reload_removes_password_only_with_its_setting(tmp_path: Path) -> None:
    """A reload removes the password only if the setting is removed."""
    config = tmp_path / "settings.toml"
    config.write_text('password_file = "/etc/password"\n')
    current = ServerSettings.load(config)
    config.write_text("")  # as an editor does before it writes the new contents
    with pytest.raises(SettingsError, match=r"^password_file: not set any more"):
        current.reloaded(ServerSettings.load(config))
    config.write_text('password_file = ""\n')
    settings, changed, _ = current.reloaded(ServerSettings.load(config))
    assert settings.password_file is None
    assert changed == ["password_file"]
