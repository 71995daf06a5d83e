"""Links from a range to its neighbours."""

import pytest

from fibweb.http.links import range_links


@pytest.mark.parametrize(
    ("start", "count", "max_index", "format", "links"),
    [
        (0, 10, None, None, '<?start=10&count=10>; rel="next"'),
        (0, 0, 100, None, ""),
        (7, 0, 100, None, ""),
        (
            10,
            10,
            100,
            "csv",
            '<?start=20&count=10&format=csv>; rel="next", '
            '<?start=0&count=10&format=csv>; rel="prev"',
        ),
        (
            3,
            10,
            15,
            None,
            '<?start=13&count=3>; rel="next", <?start=0&count=3>; rel="prev"',
        ),
        (90, 11, 100, None, '<?start=79&count=11>; rel="prev"'),
        (90, 20, 100, None, '<?start=70&count=20>; rel="prev"'),
    ],
)
def test_links(
    start: int, count: int, max_index: int | None, format: str | None, links: str
) -> None:
    """The neighbours have as many numbers, except at both ends of the sequence."""
    assert range_links(start, count, max_index, format) == links
