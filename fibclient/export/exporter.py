"""Export of a plan to a folder: what is missing is written, then the manifest.

An export that was interrupted continues with the parts that have no checksum beside them. The
manifest is written last, after all parts were seen in the folder with their sizes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fibclient.export.manifest import (
    MANIFEST_NAME,
    Manifest,
    PartRecord,
    parse_checksum_line,
)
from fibclient.export.optional import ExportError
from fibclient.export.part_files import (
    CHECKSUM_SUFFIX,
    CheckTask,
    WriteTask,
    check_part,
    write_part,
)
from fibclient.export.plan import ExportPlan, PlannedPart
from fibclient.export.runners import Runner
from fibclient.export.stores import Store, open_store

__all__ = ["ExportFolder", "Finding", "ServerAccess"]

MAX_SMALL_FILE_BYTES = 100_000_000
"""Limit for manifests and checksums: far more than any has."""


class ServerAccess(NamedTuple):
    """How tasks reach the servers.

    Attributes:
        addresses: The addresses.
        timeout_seconds: Timeout of each call.
        password: Password of the servers; None for none.
    """

    addresses: tuple[str, ...]
    timeout_seconds: float
    password: str | None


class Finding(NamedTuple):
    """A file that is missing or damaged.

    Attributes:
        name: Name of the file.
        problem: What is wrong with it.
    """

    name: str
    problem: str


class ExportFolder:
    """The folder of an export.

    Attributes:
        records: The complete parts by name, as found when the folder was opened.
        manifest: The manifest, if there is one.
    """

    def __init__(self, url: str, plan: ExportPlan | None = None) -> None:
        """Find out what the folder contains.

        Args:
            url: Path or URL of the folder, which need not exist.
            plan: Plan of the export; by default, that of the manifest.

        Raises:
            ExportError: The folder belongs to another export, the manifest is invalid, or there
                is neither a plan nor a manifest.
            OSError: The folder cannot be read.
        """
        self._url = url
        self._store = open_store(url)
        sizes = self._store.sizes()
        self.manifest = self._read_manifest() if MANIFEST_NAME in sizes else None
        if plan is not None:
            self._check_is_same(plan, sizes)
        elif self.manifest is None:
            where = self._store.url(MANIFEST_NAME)
            raise ExportError(f"{where} does not exist: the export is incomplete, or elsewhere")
        else:
            plan = self.manifest.plan
        self.plan = plan
        self.records = dict(self._find_records(sizes))

    @property
    def missing(self) -> list[PlannedPart]:
        """The parts that are not complete."""
        return [part for part in self.plan.parts if part.name not in self.records]

    @property
    def expected(self) -> dict[str, PartRecord]:
        """The parts by name, as recorded in the manifest, or else beside them."""
        if self.manifest is None:
            return self.records
        return {record.part.name: record for record in self.manifest.records}

    @property
    def manifest_url(self) -> str:
        """Where the manifest is, or will be."""
        return self._store.url(MANIFEST_NAME)

    def write(
        self, runner: Runner, access: ServerAccess, advance: Callable[[int], None]
    ) -> Manifest:
        """Write what is missing, then the manifest.

        Args:
            runner: Runs the tasks that write parts.
            access: How they reach the servers.
            advance: Called with the number of bytes of each step.

        Raises:
            FibError: A request failed.
            OSError: A file cannot be written.
            ExportError: The workers write to another folder than this process sees.
        """
        missing = self.missing
        tasks = [
            WriteTask(
                self._url,
                part,
                _rotated(access.addresses, number),
                access.timeout_seconds,
                access.password,
            )
            for number, part in enumerate(missing)
        ]
        requested = [part.requested_size for part in missing]
        for _, record in runner.run(write_part, tasks, requested, advance):
            self.records[record.part.name] = record
        self._check_is_visible()
        manifest = Manifest(self.plan, tuple(self.records[part.name] for part in self.plan.parts))
        if manifest != self.manifest:
            data = manifest.to_json()
            with self._store.create(MANIFEST_NAME, len(data)) as file:
                file.write(data)
            self.manifest = manifest
        return manifest

    def check(self, runner: Runner, advance: Callable[[int], None]) -> list[Finding]:
        """Compare all files with their sizes and checksums.

        Args:
            runner: Runs the tasks that read parts.
            advance: Called with the number of bytes of each step.

        Returns:
            What is missing or damaged, in the order of the parts, the manifest last.
        """
        present = self._store.sizes()
        expected = self.expected
        problems = {}
        tasks = []
        for part in self.plan.parts:
            record = expected.get(part.name)
            if part.name not in present:
                problems[part.name] = "is missing"
            elif record is None:
                problems[part.name] = "is incomplete"
            elif present[part.name] != record.size:
                problems[part.name] = (
                    f"has {present[part.name]:,} bytes instead of {record.size:,}"
                )
            else:
                tasks.append(CheckTask(self._url, record))
        sizes = [task.record.size for task in tasks]
        for task, problem in runner.run(check_part, tasks, sizes, advance):
            if problem is not None:
                problems[task.record.part.name] = problem
        if self.manifest is None:
            problems[MANIFEST_NAME] = "is missing"
        order = [*(part.name for part in self.plan.parts), MANIFEST_NAME]
        return [Finding(name, problems[name]) for name in order if name in problems]

    def _read_manifest(self) -> Manifest:
        try:
            return Manifest.from_json(_read(self._store, MANIFEST_NAME))
        except ValueError as error:
            raise ExportError(f"{self._store.url(MANIFEST_NAME)} is invalid: {error}") from error

    def _check_is_same(self, plan: ExportPlan, sizes: dict[str, int]) -> None:
        """Raise `ExportError` if the folder has a manifest or parts of another plan."""
        advice = "use another folder, or the arguments of that export"
        if self.manifest is not None and self.manifest.plan != plan:
            other = self.manifest.plan
            raise ExportError(
                f"{self._store.url(MANIFEST_NAME)} is of another export: {other.start} "
                f"{other.stop} in {len(other.parts)} parts as {other.format_name}; {advice}"
            )
        names = {part.name for part in plan.parts}
        for name in sorted(sizes):
            part = name.removesuffix(CHECKSUM_SUFFIX)
            if part != name and part.startswith("fib-") and part not in names:
                raise ExportError(
                    f"{self._store.url(part)} is part of another export; {advice} "
                    "(--parts included)"
                )

    def _find_records(self, sizes: dict[str, int]) -> Iterator[tuple[str, PartRecord]]:
        """Yield the complete parts: with the right size, and with their checksum beside them."""
        for part in self.plan.parts:
            size, checksum_name = sizes.get(part.name), part.name + CHECKSUM_SUFFIX
            if size is None or checksum_name not in sizes or part.size not in (None, size):
                continue
            checksum = parse_checksum_line(_read(self._store, checksum_name), part.name)
            if checksum is not None:
                yield part.name, PartRecord(part, size, checksum)

    def _check_is_visible(self) -> None:
        """Raise `ExportError` unless all parts are in the folder as this process sees it."""
        sizes = self._store.sizes()
        for name, record in self.records.items():
            if sizes.get(name) != record.size:
                raise ExportError(
                    f"{self._store.url(name)} was written, but is not there: all workers need "
                    "the same folder, such as one on a network file system"
                )


def _rotated(addresses: tuple[str, ...], number: int) -> str:
    """Return the addresses, starting with another one for each part: the first is used first."""
    first = number % len(addresses)
    return ",".join(addresses[first:] + addresses[:first])


def _read(store: Store, name: str) -> bytes:
    """Return the contents of a small file."""
    data = bytearray()
    for chunk in store.chunks(name):
        data += chunk
        if len(data) > MAX_SMALL_FILE_BYTES:
            raise ExportError(f"{store.url(name)} is too large to be part of an export")
    return bytes(data)
