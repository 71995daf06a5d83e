"""Links from a range to its neighbours."""

import pytest

from fibweb.http.links import range_links


@pytest.mark.parametrize(
    ("start", "count", "max_index", "parameter", "links"),
    [
        (0, 10, None, "", '<?start=10&count=10>; rel="next"'),
        (0, 0, 100, "", ""),
        (7, 0, 100, "", ""),
        (
            10,
            10,
            100,
            "format=csv",
            '<?start=20&count=10&format=csv>; rel="next", '
            '<?start=0&count=10&format=csv>; rel="prev"',
        ),
        (
            3,
            10,
            15,
            "",
            '<?start=13&count=3>; rel="next", <?start=0&count=3>; rel="prev"',
        ),
        (90, 11, 100, "", '<?start=79&count=11>; rel="prev"'),
        (90, 20, 100, "", '<?start=70&count=20>; rel="prev"'),
    ],
)
def test_links(start: int, count: int, max_index: int | None, parameter: str, links: str) -> None:
    """The neighbours have as many numbers, except at both ends of the sequence."""
    assert range_links(start, count, max_index, parameter) == links
