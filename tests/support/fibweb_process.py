"""Fibweb processes for tests, and requests to them."""

import json
import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import DEADLINE_SECONDS, RunningServer

__all__ = ["COMMAND", "get", "metrics", "start_fibweb", "status"]

COMMAND = [sys.executable, "-m", "fibweb"]
READY = re.compile(r"fibweb: ready on ([^\s,]+)")


def start_fibweb(log: Path, *arguments: str, **environment: str) -> RunningServer:
    """Start `fibweb`, by default on a free port of 127.0.0.1, and wait until it is ready.

    Args:
        log: File for its log.
        arguments: Command-line arguments.
        environment: Environment variables to set.
    """
    if "--listen" not in arguments:
        arguments = ("--listen", "127.0.0.1:0", *arguments)
    return RunningServer([*COMMAND, *arguments], log, environment, READY)


def get(web: RunningServer, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the body of the response to GET; raise HTTPError for an error."""
    request = urllib.request.Request(web.address + path, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as reply:
        body: bytes = reply.read()
        return body


def status(web: RunningServer) -> Any:
    """Return the JSON of /status."""
    return json.loads(get(web, "/status"))


def metrics(web: RunningServer) -> dict[str, float]:
    """Return the samples by name and label values, in the order of the label names."""
    families = text_string_to_metric_families(get(web, "/metrics").decode())
    return {
        " ".join(
            [sample.name, *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in families
        for sample in family.samples
    }
