"""What setup.cfg cannot express: data outside the packages, and an sdist that is reproducible."""

import gzip
import os
import tarfile
import time
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.sdist import sdist

SHARE = "share/fibservice"


class ReproducibleSdist(sdist):
    """An sdist whose bytes depend only on the contents of its files and SOURCE_DATE_EPOCH."""

    def make_archive(self, base_name: str, format: str, *args: Any, **options: Any) -> str:
        """Write a .tar.gz and return its path; the other formats are not used."""
        path, time_ = f"{base_name}.tar.gz", int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def normalized(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.mtime = time_
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=time_) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as archive,
        ):
            archive.add(options["base_dir"], filter=normalized)
        return path


def data_files(*roots: str) -> list[tuple[str, list[str]]]:
    """Return the files below folders, each with the folder below `SHARE` that it goes into."""
    files = (file for root in roots for file in sorted(Path(root).rglob("*")) if file.is_file())
    return [
        (f"{SHARE}/{file.parent}", [str(file)])
        for file in files
        if "__pycache__" not in file.parts
    ]


setup(cmdclass={"sdist": ReproducibleSdist}, data_files=data_files("systemd", "deploy"))
