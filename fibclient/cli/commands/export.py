"""`export`: a range of numbers as files in a folder or an object store."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from fibclient.cli.exit_codes import EXIT_REFUSED, UnsuitableFile
from fibclient.cli.main import CliSession, pass_session
from fibclient.cli.measuring.unpooled import check_limits
from fibclient.cli.messages import print_note
from fibclient.cli.options import NumericCommand, WholeNumber
from fibclient.cli.render.progress import progress_bar
from fibclient.cli.render.units import duration_text, size_text
from fibclient.export.exporter import ExportFolder, ServerAccess
from fibclient.export.optional import ExportError
from fibclient.export.parquet import require_parquet
from fibclient.export.plan import EXPORT_FORMATS, ExportPlan
from fibclient.export.runners import DaskRunner, Runner, ThreadRunner
from fibclient.export.stores import resolved_url
from fibcommon.extras import MissingExtra

__all__ = ["export"]

MAX_PARTS = 1_000_000
MAX_JOBS = 64

DEFAULT_JOBS = 2
"""One part is requested while another is hashed and written."""

ADVICE = (
    "to write missing files, repeat the command without --check; remove damaged files before that"
)


@click.command(cls=NumericCommand)
@click.argument("start", type=WholeNumber(), required=False)
@click.argument("stop", type=WholeNumber(), required=False)
@click.option(
    "--to",
    "url",
    required=True,
    type=click.Path(file_okay=False),
    metavar="URL",
    help="Folder for the files: a path, or a URL such as s3://bucket/numbers.",
)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(EXPORT_FORMATS),
    metavar="FORMAT",
    help=f"Format of the files: {', '.join(EXPORT_FORMATS)}.  [default: text]",
)
@click.option(
    "--parts",
    "part_count",
    type=WholeNumber(minimum=1, maximum=MAX_PARTS),
    metavar="K",
    help="Number of files, of about equal size.  [default: at most 1 GB each]",
)
@click.option(
    "--jobs",
    type=WholeNumber(minimum=1, maximum=MAX_JOBS),
    metavar="N",
    help=f"Number of parts to write at the same time.  [default: {DEFAULT_JOBS}]",
)
@click.option(
    "--dask",
    "scheduler",
    metavar="ADDRESS",
    help="Let the workers of this Dask cluster write the parts.",
)
@click.option(
    "--check",
    "is_check",
    is_flag=True,
    help="Write nothing; compare the files with their sizes and checksums.",
)
@pass_session
def export(
    session: CliSession,
    start: int | None,
    stop: int | None,
    url: str,
    format_name: str | None,
    part_count: int | None,
    jobs: int | None,
    scheduler: str | None,
    is_check: bool,
) -> None:
    """Write F(START) to F(STOP-1) to files, with a manifest.

    Each file has a range of the numbers; manifest.json has the range, the size and the SHA-256 of
    each file, and is written last. An interrupted export continues when the command is repeated:
    complete files are kept. --check needs no START and STOP once there is a manifest.

    \b
    Examples:
      fibclient export 0 100000 --to numbers --format csv
      fibclient export --to numbers --check
      fibclient export 0 1000000 --to s3://bucket/fib --parts 200
      fibclient export 0 1000000 --to /nfs/fib --dask tcp://head:8786
    """
    if jobs is not None and scheduler is not None:
        raise click.UsageError("--jobs is for this machine: it cannot be combined with --dask")
    if not url:
        raise click.BadParameter("the folder is empty: expected a path or a URL")
    try:
        plan = _plan(start, stop, format_name, part_count, is_check)
        if format_name == "parquet" and not is_check:
            require_parquet()
        folder = ExportFolder(resolved_url(url), plan)
        with _runner(scheduler, jobs or DEFAULT_JOBS, session.timeout_seconds) as runner:
            if is_check:
                _check(session, folder, runner)
            else:
                _write(session, folder, runner)
    except (ExportError, MissingExtra) as error:
        raise UnsuitableFile(str(error)) from error


def _plan(
    start: int | None,
    stop: int | None,
    format_name: str | None,
    part_count: int | None,
    is_check: bool,
) -> ExportPlan | None:
    """Return the plan of the arguments, or None for that of the manifest."""
    if start is None or stop is None:
        if not is_check or start is not None:
            raise click.UsageError("START and STOP are missing: which numbers to export")
        if format_name is not None or part_count is not None:
            raise click.UsageError("--format and --parts require START and STOP")
        return None
    if stop < start:
        raise click.BadParameter(f"STOP ({stop}) is less than START ({start})")
    return ExportPlan.of(start, stop, format_name or "text", part_count)


@contextmanager
def _runner(scheduler: str | None, jobs: int, timeout_seconds: float) -> Iterator[Runner]:
    if scheduler is None:
        yield ThreadRunner(jobs)
        return
    with DaskRunner.connected(scheduler, timeout_seconds) as runner:
        if not runner.has_workers:
            print_note(f"{scheduler} has no workers yet: waiting for some")
        yield runner


def _write(session: CliSession, folder: ExportFolder, runner: Runner) -> None:
    plan, missing = folder.plan, folder.missing
    if missing:
        name = missing[0].slice.format.name
        servers, step_timeout = session.servers, session.step_timeout_seconds
        check_limits(servers, session.password, step_timeout, plan.start, plan.stop, name)
    access = ServerAccess(
        tuple(map(str, session.servers)), session.timeout_seconds, session.password
    )
    begin = time.monotonic()
    done = plan.requested_size - sum(part.requested_size for part in missing)
    try:
        with progress_bar(done, plan.requested_size) as advance:
            manifest = folder.write(runner, access, advance)
    except BaseException:
        if folder.missing:
            print_note("complete parts are kept: repeat the command to continue")
        raise
    seconds = time.monotonic() - begin
    if session.as_json:
        values = {"written_parts": len(missing), "seconds": round(seconds, 6)}
        click.echo(json.dumps({**_summary(folder), "bytes": manifest.size, **values}))
    elif missing:
        click.echo(
            f"{folder.manifest_url}: {_amount(plan, manifest.size)}; "
            f"{len(missing):,} written in {duration_text(seconds)}"
        )
    else:
        click.echo(f"{folder.manifest_url}: {_amount(plan, manifest.size)}; all were complete")


def _check(session: CliSession, folder: ExportFolder, runner: Runner) -> None:
    total = sum(record.size for record in folder.expected.values())
    with progress_bar(0, total) as advance:
        findings = folder.check(runner, advance)
    if session.as_json:
        values = {"bytes": total, "is_correct": not findings}
        entries = [finding._asdict() for finding in findings]
        click.echo(json.dumps({**_summary(folder), **values, "findings": entries}))
    elif findings:
        for finding in findings:
            click.echo(f"{finding.name} {finding.problem}")
        print_note(ADVICE)
    else:
        click.echo(f"{folder.manifest_url}: {_amount(folder.plan, total)}; all are correct")
    if findings:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _summary(folder: ExportFolder) -> dict[str, object]:
    plan = folder.plan
    return {
        "start": plan.start,
        "stop": plan.stop,
        "format": plan.format_name,
        "manifest": folder.manifest_url,
        "parts": len(plan.parts),
    }


def _amount(plan: ExportPlan, size_bytes: int) -> str:
    parts = "1 part" if len(plan.parts) == 1 else f"{len(plan.parts):,} parts"
    return f"{plan.stop - plan.start:,} numbers in {parts}, {size_text(size_bytes)}"
