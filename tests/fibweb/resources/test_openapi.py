"""Tests for the OpenAPI document, and of the application against it."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from falcon import testing

from fibclient import FibClient
from fibweb import create_app
from fibweb.resources.openapi import describe
from tests.support.http_servers import SERVERS
from tests.support.servers import RunningServer

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CASES = 25
"""Generated cases per operation and strategy: hundreds in total."""

TIME_LIMIT_SECONDS = 300

ROUTES = (
    *("/fib/{n:path}", "/fib", "/number/{n:path}"),
    *("/digits/{n:path}", "/index/{x:path}", "/index"),
    *("/limits", "/problems/{name}", "/docs", "/openapi.json", "/favicon.ico", "/robots.txt"),
)
DOCUMENT = describe(ROUTES)
METHODS = [
    (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@pytest.fixture(scope="module")
def web(server: RunningServer) -> Iterator[testing.TestClient]:
    """The application with a fibserver."""
    with FibClient(server.address) as client:
        yield testing.TestClient(create_app(client))


def examples() -> Iterator[Any]:
    """Yield status, media type, request and response of each example."""
    for _, _, operation in METHODS:
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                for example in content.get("examples", {}).values():
                    request = example["summary"]
                    yield pytest.param(status, media_type, request, example["value"], id=request)


@pytest.mark.parametrize(("status", "media_type", "request_", "response"), list(examples()))
def test_examples_of_responses(
    web: testing.TestClient, status: str, media_type: str, request_: str, response: object
) -> None:
    """Every example equals the response to its request."""
    line, *fields = request_.split(", ")
    headers = dict(field.split(": ") for field in fields)
    result = web.simulate_request(*line.split(" "), headers=headers)
    assert result.status_code == int(status)
    assert result.headers["content-type"].partition(";")[0] == media_type
    if isinstance(response, str):
        assert result.text == response
    else:
        assert _without_id(result.json) == _without_id(response)


def _without_id(value: Any) -> dict[str, object]:
    return {key: content for key, content in value.items() if key != "request_id"}


@pytest.mark.parametrize(("path", "method", "operation"), METHODS)
def test_examples_of_requests(
    web: testing.TestClient, path: str, method: str, operation: dict[str, Any]
) -> None:
    """Every operation works with the examples of its parameters."""
    given = [parameter for parameter in operation.get("parameters", []) if "example" in parameter]
    for parameter in given:
        path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    query = {
        parameter["name"]: parameter["example"]
        for parameter in given
        if parameter["in"] == "query"
    }
    result = web.simulate_request(method.upper(), path, params=query)
    assert result.status_code == 200


def test_all_formats_have_examples() -> None:
    """Each route with numbers has an example in each text format."""
    requests = " ".join(parameter.values[2] for parameter in examples())
    for format in ("json", "text", "csv", "ndjson", "bfile"):
        assert len(re.findall(rf"format={format}\b", requests)) == 3


def test_only_routes_in_use_are_described() -> None:
    """Only routes in use are described."""
    assert list(describe(["/fib"])["paths"]) == ["/fib"]


def test_openapi_is_revalidated(web: testing.TestClient) -> None:
    """`/openapi.json` is the document, which caches revalidate."""
    result = web.simulate_get("/openapi.json")
    assert result.headers["content-type"] == "application/json"
    assert result.json == DOCUMENT
    assert result.headers["cache-control"] == "no-cache"
    tag = result.headers["etag"]
    again = web.simulate_get("/openapi.json", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_openapi_below_path_prefix(web: testing.TestClient) -> None:
    """Below a path prefix, the server URL and the paths in errors are right."""
    (server,) = DOCUMENT["servers"]
    assert urljoin("https://example.org/f/openapi.json", server["url"]) == "https://example.org/f/"
    result = web.simulate_get("/fib/-1", root_path="/f")
    assert (result.status_code, result.json["instance"]) == (400, "/f/fib/-1")


def test_application_conforms_to_openapi(server: RunningServer, tmp_path: Path) -> None:
    """The response to any request conforms to the document.

    The test inserts limits of n and of digits into the document, which depend on the fibservers,
    and on each other.
    """
    limited = copy.deepcopy(DOCUMENT)
    for path in ("/fib/{n}", "/fib"):
        for parameter in limited["paths"][path]["get"]["parameters"]:
            if parameter.get("name") == "digits":
                parameter["schema"]["pattern"] = "^[0-9]$"
    text, count = re.subn(r"\{0,(18|999)\}\)\$", "{0,2})$", json.dumps(limited))
    assert count > 5
    document = tmp_path / "openapi.json"
    document.write_text(text)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
    command += ["run", str(document), "--checks", "all", "--max-examples", str(CASES)]
    with FibClient(server.address) as client, SERVERS["fibweb"](create_app(client)) as port:
        done = subprocess.run(
            [*command, "--url", f"http://127.0.0.1:{port}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    said = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert said, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
    assert int(said[1]) == int(said[2]) > 500
