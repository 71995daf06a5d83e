"""Earlier checkouts of the project, for benchmarks that compare it with itself."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from servers import ROOT

__all__ = ["before_option"]

GIT_SECONDS = 60
"""Far above any measured time: reaching it is a failure, not a slow machine."""


class _Checkout(click.ParamType[Path]):
    """A directory with a checkout, or a commit of this repository.

    The files of a commit are extracted to a temporary directory, which is removed when the
    command ends. A branch or tag with the name of a directory needs a prefix: `heads/NAME`.
    """

    name = "commit or directory"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the directory with the checkout."""
        if Path(value).is_dir():
            return Path(value).resolve()
        assert ctx is not None
        root = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="bench-checkout-")))
        archive = root / "checkout.zip"
        finished = subprocess.run(
            ["git", "-C", str(ROOT), "archive", f"--output={archive}", "--end-of-options", value],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
        if finished.returncode:
            message = f'"{value}" is neither a directory nor a commit: {finished.stderr.strip()}'
            self.fail(message, param, ctx)
        folder = root / "checkout"
        shutil.unpack_archive(archive, folder)
        return folder


def before_option(program: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--before` for an earlier checkout of a program."""
    return click.option(
        "--before",
        type=_Checkout(),
        metavar="COMMIT|DIRECTORY",
        help=f"Compare with {program} of an earlier commit as well.",
    )
