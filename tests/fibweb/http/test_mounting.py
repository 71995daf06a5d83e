"""Tests for path prefixes."""

import pytest

from fibweb.http.mounting import mount_path, path_below, relative_root, requested_path


@pytest.mark.parametrize(
    ("script_name", "path"),
    [
        ("", ""),
        ("/", ""),
        ("/f", "/f"),
        ("/a/b/", "/a/b"),
        ("//example.org", "/example.org"),
        ("/a b\xc3\xa9?#", "/a%20b%C3%A9%3F%23"),
    ],
)
def test_mount_path(script_name: str, path: str) -> None:
    """A prefix is percent-encoded, with one leading slash and no trailing one."""
    assert mount_path({"SCRIPT_NAME": script_name}) == path


def test_no_mount() -> None:
    """SCRIPT_NAME may be missing."""
    assert mount_path({}) == ""


@pytest.mark.parametrize(
    ("root_path", "path", "below"),
    [
        ("", "/fib/1", "/fib/1"),
        ("/f", "/f/fib/1", "/fib/1"),
        ("/f", "/f", ""),
        ("/f", "/f/", "/"),
        ("/f", "/fib/1", "/fib/1"),
        ("/f", "/other", "/other"),
        ("/f", "/f/f/x", "/f/x"),
        ("/f", "*", "*"),
    ],
)
def test_path_below(root_path: str, path: str, below: str) -> None:
    """A prefix of whole segments is removed, once."""
    assert path_below(root_path, path) == below


@pytest.mark.parametrize(
    ("environ", "path", "root"),
    [
        ({"PATH_INFO": "/"}, "/", "./"),
        ({"PATH_INFO": "/fib"}, "/fib", "./"),
        ({"PATH_INFO": "/fib/\xc3\xa9 1/"}, "/fib/%C3%A9%201/", "../../"),
        ({"REQUEST_URI": "//fib/1%2F0?a=/b"}, "//fib/1%2F0", "../../"),
        ({"RAW_URI": "/f/fib/1", "SCRIPT_NAME": "/f"}, "/fib/1", "../"),
        ({"RAW_URI": "/fib/1", "SCRIPT_NAME": "/f"}, "/fib/1", "../"),
        ({"REQUEST_URI": "http://x/fib/1", "PATH_INFO": "/fib/1"}, "/fib/1", "../"),
        ({"REQUEST_URI": "/a/f", "SCRIPT_NAME": "/a/f"}, "", "./f/"),
        ({"REQUEST_URI": "*", "PATH_INFO": ""}, "", "./"),
    ],
)
def test_relative_root(environ: dict[str, str], path: str, root: str) -> None:
    """A relative URL leads from the path of any request to the root of the application."""
    assert requested_path(environ) == path
    assert relative_root(environ) == root
