"""Text files with byte order marks, as settings and as passwords."""

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from fibclient.service.errors import SettingsError
from fibclient.service.passwords import MAX_PASSWORD_BYTES, read_password
from fibserver.settings import Settings as ServerSettings
from fibserver.settings import load_settings as load_fibserver
from fibweb.settings import Settings as WebSettings
from fibweb.settings import load_settings as load_fibweb

WIDE = ["utf-16", "utf-32"]
Load = Callable[[Path], ServerSettings | WebSettings]
LOADERS = [load_fibserver, load_fibweb]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_settings_in_utf_8(load: Load, encoding: str, tmp_path: Path) -> None:
    """A settings file may begin with a byte order mark."""
    config = tmp_path / "settings.toml"
    config.write_text('log_level = "debug"\r\n', encoding=encoding)
    assert load(config).log_level == "debug"


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("encoding", WIDE)
def test_settings_in_utf_16(load: Load, encoding: str, tmp_path: Path) -> None:
    """A settings file in another encoding is refused with the remedy."""
    config = tmp_path / "settings.toml"
    config.write_text('log_level = "debug"\n', encoding=encoding)
    with pytest.raises(SettingsError, match=r"^/.*: the byte order mark .*; save it as UTF-8$"):
        load(config)


@pytest.mark.parametrize("password", ["x", "p\u00e4ss", "x" * MAX_PASSWORD_BYTES])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_in_utf_8(password: str, end: str, tmp_path: Path) -> None:
    """A byte order mark is no part of the password, and takes none of its length."""
    path = tmp_path / "password"
    encoded = password.encode()[:MAX_PASSWORD_BYTES]
    path.write_bytes(codecs.BOM_UTF8 + encoded + end.encode())
    assert read_password(path) == encoded


@pytest.mark.parametrize("data", [*("secret\r\n".encode(each) for each in WIDE), b"\xfe\xff\0s"])
def test_a_password_in_utf_16(data: bytes, tmp_path: Path) -> None:
    """A password in another encoding is refused: no client could send it."""
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
