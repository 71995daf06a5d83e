"""Kubernetes manifests for tests: as they are in deploy/kubernetes, and rendered by kustomize."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.servers import DEADLINE_SECONDS

__all__ = [
    "KUBERNETES",
    "Manifest",
    "environment",
    "kustomize",
    "load_all",
    "pod_specs",
    "render",
    "unkustomized",
]

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"

Manifest = dict[str, Any]

PASSWORD = "a password of the tests"


def load_all(text: str) -> list[Manifest]:
    """Return the documents of a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def unkustomized() -> Iterator[tuple[str, Manifest]]:
    """Yield all complete manifests, with the relative paths of their files."""
    for directory in ("base", "monitoring", "cache"):
        for path in sorted((KUBERNETES / directory).glob("*.yaml")):
            if path.name != "kustomization.yaml":
                for manifest in load_all(path.read_text()):
                    yield str(path.relative_to(KUBERNETES)), manifest


def kustomize() -> list[str]:
    """Return a command that renders a directory, or skip the test.

    Debian 12 packages neither kustomize nor a kubectl whose kustomize supports components (4.0).
    """
    if path := shutil.which("kustomize"):
        return [path, "build"]
    if path := shutil.which("kubectl"):
        command = [path, "version", "--client"]
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
        version = re.search(r"Kustomize Version: v(\d+)", shown.stdout)
        if version and int(version[1]) >= 4:
            return [path, "kustomize"]
    pytest.skip("needs kustomize, or kubectl from 1.21 on")


def render(overlay: str, folder: Path) -> list[Manifest]:
    """Return the manifests of an overlay.

    Args:
        overlay: Its name.
        folder: Empty directory for a copy, which has a password.
    """
    command = kustomize()
    copy = folder / "kubernetes"
    if not copy.exists():
        shutil.copytree(KUBERNETES, copy)
        (copy / "base" / "password").write_text(PASSWORD)
    rendered = subprocess.run(
        [*command, str(copy / "overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert rendered.returncode == 0, rendered.stderr
    assert not rendered.stderr
    return load_all(rendered.stdout)


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the Pod specifications of Deployments by name."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] == "Deployment"
    }


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of a container, as kubelet sets them."""
    values = {}
    for entry in container.get("env", ()):
        if "value" in entry:
            values[entry["name"]] = entry["value"]
        else:
            kind, resource = entry["valueFrom"]["resourceFieldRef"]["resource"].split(".")
            values[entry["name"]] = container["resources"][kind][resource]
    return values
