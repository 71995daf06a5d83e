"""The user's settings file, which has defaults for the global options."""

import os
from collections.abc import Collection
from pathlib import Path

from fibclient.cli.exit_codes import UnsuitableFile

__all__ = ["read_settings", "settings_path"]

PATH_VARIABLE = "FIBCLIENT_CONFIG"
DEFAULT_FOLDER = "~/.config"


def settings_path() -> Path | None:
    """Return the path of the settings file, which may not exist; None if none is wanted.

    FIBCLIENT_CONFIG names a file, or none if it is empty. The default is in the folder that the
    XDG Base Directory Specification names, which ignores a relative XDG_CONFIG_HOME.
    """
    chosen = os.environ.get(PATH_VARIABLE)
    if chosen is not None:
        return Path(chosen).expanduser() if chosen else None
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not folder.startswith("/"):
        folder = DEFAULT_FOLDER
    try:
        return Path(folder).expanduser() / "fibclient" / "config.toml"
    except RuntimeError:  # the user has no home directory
        return None


def read_settings(names: Collection[str]) -> dict[str, str]:
    """Return the texts of the settings in the file by name; {} if there is no file.

    Args:
        names: The settings that the file may have. Those whose names end in `_file` are paths,
            relative to the folder of the settings file.

    Raises:
        UnsuitableFile: The file cannot be read, is a named pipe or not TOML, or has another
            setting or a value that is no text or number.
    """
    path = settings_path()
    if path is None or not (path.exists() or PATH_VARIABLE in os.environ):
        return {}
    # Opening one waits for a writer. The pipe of a shell's `<(…)` has one, and no real path.
    # Unlike `resolve`, `realpath` accepts a loop of symbolic links, which is reported below.
    if Path(os.path.realpath(path)).is_fifo():
        raise UnsuitableFile(f"{path}: a named pipe, but the settings must be in a regular file")
    # Imported only for those who have a file: this takes as long as a small request.
    from fibcommon.configuration.settings import read_table, unknown_setting
    from fibcommon.service.errors import SettingsError

    try:
        table = read_table(path)
    except SettingsError as error:
        raise UnsuitableFile(str(error)) from error
    texts = {}
    for name, value in table.items():
        if name not in names:
            raise UnsuitableFile(f"{path}: {unknown_setting(name, list(names))}")
        text = _text(value)
        if text is None:
            raise UnsuitableFile(f"{path}: {name}: {value!r} is no text, number or list")
        texts[name] = _beside(path, text) if name.endswith("_file") else text
    return texts


def _text(value: object) -> str | None:
    """Return a value of the file as the option takes it; None if it has another type."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ",".join(value)
    is_suitable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value) if is_suitable else None


def _beside(path: Path, text: str) -> str:
    return str(path.parent / Path(text).expanduser()) if text else text
