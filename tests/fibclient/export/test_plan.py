"""Plans of exports: ranges, names and sizes of parts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibclient.export.plan import EXPORT_FORMATS, PART_BYTES, ExportPlan, PlannedPart

INDEX = st.integers(0, 100_000)


@given(INDEX, INDEX, st.sampled_from(EXPORT_FORMATS), st.integers(1, 50))
@settings(deadline=None)  # not a test of speed
def test_parts_cover_the_range(first: int, second: int, format_name: str, count: int) -> None:
    """The parts are consecutive ranges of some numbers each, and their names sort like them."""
    start, stop = sorted((first, second))
    plan = ExportPlan.of(start, stop, format_name, count)
    assert len(plan.parts) <= count
    assert [n for part in plan.parts for n in (part.start, part.stop)][::2] == [
        start if number == 0 else plan.parts[number - 1].stop for number in range(len(plan.parts))
    ]
    assert all(part.start < part.stop for part in plan.parts)
    assert (plan.parts[-1].stop if plan.parts else start) == stop
    names = [part.name for part in plan.parts]
    assert names == sorted(set(names))


@pytest.mark.parametrize("format_name", EXPORT_FORMATS)
def test_parts_are_of_about_equal_size(format_name: str) -> None:
    """The requested number of parts differ by little more than a number."""
    plan = ExportPlan.of(0, 50_000, format_name, 10)
    sizes = [part.requested_size for part in plan.parts]
    assert len(sizes) == 10
    assert max(sizes) - min(sizes) < 25_000


def test_default_size_of_parts() -> None:
    """By default there are as many parts as keep each within 1 GB."""
    plan = ExportPlan.of(0, 1_000_000, "text")
    sizes = [part.size for part in plan.parts]
    assert len(sizes) == 105
    assert max(size for size in sizes if size is not None) < PART_BYTES + 250_000
    assert len(ExportPlan.of(0, 10, "text").parts) == 1


def test_empty_range_has_no_parts() -> None:
    """Without numbers there are no parts."""
    assert ExportPlan.of(7, 7, "csv").parts == ()


def test_part_depends_on_its_range_alone() -> None:
    """Name and size of a part are the same in every export."""
    part = ExportPlan.of(0, 1000, "json", 4).parts[1]
    assert part == PlannedPart("json", part.start, part.stop)
    assert part.name == f"fib-{part.start:09}-{part.stop:09}.json"
    assert part.size == part.requested_size + len("[]\n")


def test_names_tell_formats_apart() -> None:
    """The same range in another format is another file."""
    names = {PlannedPart(format_name, 0, 9).name for format_name in EXPORT_FORMATS}
    assert len(names) == len(EXPORT_FORMATS)
