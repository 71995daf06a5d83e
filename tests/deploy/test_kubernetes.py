"""The manifests in deploy/kubernetes: valid, consistent, and right for the services."""

import base64
import getpass
import http.client
import os
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from fibcommon.addresses import parse_address
from fibcommon.configuration.settings import ServiceSettings
from fibserver.engine import engine
from fibserver.memory.far_blocks import slots_for
from fibserver.settings import ServerSettings
from fibweb.processes.composition import memory_parts
from fibweb.settings import WebSettings
from tests.support.balancers import listening
from tests.support.fibweb_process import start_fibweb
from tests.support.manifests import (
    KUBERNETES,
    Manifest,
    environment,
    kustomize,
    load_all,
    pod_specs,
    render,
    unkustomized,
)
from tests.support.operator_schemas import SCHEMAS
from tests.support.prometheus import free_port
from tests.support.servers import DEADLINE_SECONDS, RunningServer
from tests.support.waiting import wait_until

Program = Callable[[str], str]

ROOT = KUBERNETES.parents[1]

VERSIONS = ("1.34", "1.37")
"""The oldest and the newest version of Kubernetes that the manifests are checked against."""

SETTINGS: dict[str, type[ServiceSettings]] = {"fibserver": ServerSettings, "fibweb": WebSettings}

UNITS = {"": 1, "m": 0.001, "Mi": 1 << 20, "Gi": 1 << 30}

RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def quantity(text: str) -> float:
    """Return the value of a quantity of Kubernetes, such as 500m or 64Mi."""
    match = re.fullmatch(r"(\d+)(\w*)", text)
    assert match
    return int(match[1]) * UNITS[match[2]]


@pytest.fixture(scope="module", params=["files", "small", "large"])
def manifests(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Manifest]:
    """The manifests of all files as they are, or of a rendered overlay."""
    if request.param == "files":
        return [manifest for _, manifest in unkustomized()]
    return render(request.param, tmp_path_factory.mktemp(request.param))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of a kind, at least one."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    assert found
    return found


def only(kind: str) -> Manifest:
    """Return the only manifest of a kind."""
    (found,) = of_kind([manifest for _, manifest in unkustomized()], kind)
    return found


def container(spec: Manifest) -> Manifest:
    """Return the only container of a Pod."""
    (only,) = spec["containers"]
    return dict(only)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(manifests: list[Manifest], version: str) -> None:
    """Every kind has the fields of its schema, and no others."""
    for manifest in manifests:
        if schema := SCHEMAS.get(manifest["kind"]):
            jsonschema.validate(manifest, schema)
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_validation_is_strict() -> None:
    """A misspelled field is invalid, in both kinds of schemas."""
    ingress, monitor = only("Ingress"), only("ServiceMonitor")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            ingress | {"spec": ingress["spec"] | {"rule": []}}, VERSIONS[0], strict=True
        )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            monitor | {"spec": monitor["spec"] | {"joblabel": ""}}, SCHEMAS["ServiceMonitor"]
        )


def test_references_of_kustomizations_resolve() -> None:
    """Every file that a kustomization names exists, and every manifest is in one."""
    named = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        (kustomization,) = load_all(path.read_text())
        generators = kustomization.get("secretGenerator", [])
        generators += kustomization.get("configMapGenerator", [])
        references = [
            *kustomization.get("resources", ()),
            *kustomization.get("components", ()),
            *(patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch),
            *(file for generator in generators for file in generator["files"]),
        ]
        for reference in references:
            target = (path.parent / reference).resolve()
            named.add(target)
            if target.is_dir():
                named.add(target / "kustomization.yaml")
            assert target.name == "password" or target.exists(), f"{path}: {reference}"
    overlays = set(KUBERNETES.glob("overlays/*/kustomization.yaml"))
    assert set(KUBERNETES.rglob("*.yaml")) - overlays <= named


def test_copies_are_up_to_date() -> None:
    """The rules and the nginx configuration are those of deploy/prometheus and deploy/nginx."""
    copies = runpy.run_path(str(KUBERNETES / "write_copies.py"))["files"]()
    for path, text in copies.items():
        assert path.read_text() == text, "run python deploy/kubernetes/write_copies.py"
    (rules,) = load_all((KUBERNETES / "monitoring" / "rules.yaml").read_text())
    originals = [
        group
        for name in ("fib-recording.yml", "fib-alerts.yml")
        for group in load_all((ROOT / "deploy" / "prometheus" / name).read_text())[0]["groups"]
    ]
    assert rules["spec"]["groups"] == originals


def test_no_password_is_in_the_repository() -> None:
    """The file with the password is ignored by git, and no manifest has a Secret."""
    assert (KUBERNETES / "base" / ".gitignore").read_text().split() == ["password"]
    assert all(manifest["kind"] != "Secret" for _, manifest in unkustomized())


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    """Every Pod meets the level "restricted" of Pod Security, and has a read-only root."""
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for spec in pod_specs(manifests).values():
        pod, own = spec["securityContext"], container(spec)["securityContext"]
        assert pod["runAsNonRoot"]
        assert pod["runAsUser"] > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert all("hostPort" not in port for port in container(spec)["ports"])
        kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= RESTRICTED_VOLUMES
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]


def test_probes(manifests: list[Manifest]) -> None:
    """Liveness does not depend on other services; readiness does."""
    for name, spec in pod_specs(manifests).items():
        probed = container(spec)
        paths = [
            probed[f"{probe}Probe"]["httpGet"]["path"]
            for probe in ("startup", "liveness", "readiness")
        ]
        assert paths[:2] == ["/healthz", "/healthz"]
        # nginx sends what is cached when no fibweb is ready.
        assert paths[2] == ("/healthz" if name == "nginx" else "/readyz")


def test_grace_periods(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pod has the time to drain after its preStop, and some to save and to stop."""
    for name, spec in pod_specs(manifests).items():
        pause = container(spec)["lifecycle"]["preStop"]["sleep"]["seconds"]
        rest = spec["terminationGracePeriodSeconds"] - pause
        if name == "nginx":
            read = re.search(r"proxy_read_timeout (\d+)s", cache_text("fib.conf"))
            assert read
            assert rest >= int(read[1])
        else:
            assert rest >= settings_of(spec, monkeypatch).drain_timeout + 5


def cache_text(name: str) -> str:
    """Return the text of a configuration file of nginx."""
    return (KUBERNETES / "cache" / name).read_text()


def settings_of(spec: Manifest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the settings of a service in a Pod, all of which must exist."""
    variables = environment(container(spec))
    kind = SETTINGS[container(spec)["name"]]
    assert variables.keys() <= {kind.variable(name) for name in kind.definitions()}
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return kind.load()


def volume(spec: Manifest, path: str) -> Manifest:
    """Return the volume that is mounted at a path."""
    (mount,) = (each for each in container(spec)["volumeMounts"] if each["mountPath"] == path)
    (found,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
    return dict(found)


def test_fibserver_has_room(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """fibserver need not lower its memory limit; its state fits, and so do its addresses."""
    spec = pod_specs(manifests)["fibserver"]
    settings = settings_of(spec, monkeypatch)
    limits = container(spec)["resources"]
    shm = volume(spec, "/dev/shm")["emptyDir"]
    assert shm["medium"] == "Memory"
    room = SimpleNamespace(f_bavail=quantity(shm["sizeLimit"]), f_frsize=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: room)
        patch.setattr(
            engine, "memory_limit_bytes", lambda: int(quantity(limits["limits"]["memory"]))
        )
        slots = slots_for(settings.workers)
        assert engine._affordable_memory(settings, slots) == settings.memory_limit
    assert settings.workers == quantity(limits["requests"]["cpu"])
    assert limits["requests"]["memory"] == limits["limits"]["memory"]
    state = quantity(volume(spec, str(settings.state_dir))["emptyDir"]["sizeLimit"])
    assert settings.state_limit < state <= quantity(limits["requests"]["ephemeral-storage"])
    settings.check_exposure([parse_address(text) for text in settings.listen])
    assert str(settings.password_file.parent) == "/run/secrets/fib"
    volume(spec, "/run/secrets/fib")


def test_fibweb_has_room(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """fibweb need not lower its cache or its buffers."""
    spec = pod_specs(manifests)["fibweb"]
    settings = settings_of(spec, monkeypatch)
    limit = quantity(container(spec)["resources"]["limits"]["memory"])
    part = limit / memory_parts(settings)
    assert max(settings.cache_bytes, settings.max_output_bytes) <= part
    assert settings.processes == 1
    assert str(settings.password_file.parent) == "/run/secrets/fib"
    volume(spec, "/run/secrets/fib")


def test_names_are_consistent(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports, selectors, volumes and targets refer to what exists."""
    deployments = {each["metadata"]["name"]: each for each in of_kind(manifests, "Deployment")}
    ports = {}
    for name, deployment in deployments.items():
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert labels["app.kubernetes.io/name"] == name
        spec = template["spec"]
        for spread in spec["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
        ports[name] = {port["name"]: port["containerPort"] for port in container(spec)["ports"]}
        for probe in ("startup", "liveness", "readiness"):
            assert container(spec)[f"{probe}Probe"]["httpGet"]["port"] in ports[name]
        mounted = {mount["name"] for mount in container(spec)["volumeMounts"]}
        assert mounted == {each["name"] for each in spec["volumes"]}
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    assert services.keys() == deployments.keys()
    for name, service in services.items():
        assert service["selector"] == {"app.kubernetes.io/name": name}
        for port in service["ports"]:
            assert port["targetPort"] in ports[name]
    assert services["fibserver"]["clusterIP"] == "None"
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        name = budget["metadata"]["name"]
        assert budget["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler")
    target = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in target["spec"]
    settings = settings_of(deployments["fibweb"]["spec"]["template"]["spec"], monkeypatch)
    (address,) = map(parse_address, settings.servers)
    (resp,) = (port for port in services["fibserver"]["ports"] if port["name"] == "resp")
    # A headless Service translates no ports.
    assert (address.host, address.port) == ("fibserver", resp["port"])
    assert resp["port"] == ports["fibserver"]["resp"]


def test_secret_has_its_name_and_key(manifests: list[Manifest]) -> None:
    """The generated Secret is the one that both services mount, with the file they read."""
    (kustomization,) = load_all((KUBERNETES / "base" / "kustomization.yaml").read_text())
    (generator,) = kustomization["secretGenerator"]
    assert generator == {"name": "fib-password", "files": ["password"]}
    secrets = [each["metadata"]["name"] for each in manifests if each["kind"] == "Secret"]
    for name in ("fibserver", "fibweb"):
        mounted = volume(pod_specs(manifests)[name], "/run/secrets/fib")["secret"]["secretName"]
        assert [mounted] == (secrets or ["fib-password"])


def test_network_policies(manifests: list[Manifest]) -> None:
    """All is denied but what the services need, at ports that exist."""
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "NetworkPolicy")
    }
    assert policies.pop("default-deny") == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in of_kind(manifests, "Deployment")
    }

    def selected(selector: Manifest) -> set[str]:
        found = {
            name for name, pod in pods.items() if matches(selector, pod["metadata"]["labels"])
        }
        assert found, selector
        return found

    allowed = {}
    for policy in policies.values():
        for name in selected(policy["podSelector"]):
            for rule in policy.get("ingress", ()):
                for port in rule["ports"]:
                    assert port["port"] in port_names(pods[name])
                    peers = [
                        each["podSelector"]
                        for each in rule.get("from", ())
                        if "podSelector" in each
                    ]
                    allowed[name, port["port"]] = set().union(*map(selected, peers))
            for rule in policy.get("egress", ()):
                for peer in rule.get("to", ()):
                    for target in selected(peer["podSelector"]):
                        assert {port["port"] for port in rule["ports"]} <= port_names(pods[target])
                        allowed["from " + name, target] = set()
    assert allowed["fibserver", "resp"] == {"fibweb"}
    assert allowed.keys() - {
        ("fibserver", "metrics"),
        ("fibweb", "metrics"),
        ("nginx", "http"),
    } == {
        ("fibserver", "resp"),
        ("fibweb", "http"),
        ("from fibweb", "fibserver"),
        *([("from nginx", "fibweb")] if "nginx" in pods else []),
    }


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether a selector matches labels."""
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels[each["key"]] in each["values"] for each in selector.get("matchExpressions", ())
    )


def port_names(template: Manifest) -> set[str]:
    """Return the names of the ports of a Pod."""
    return {port["name"] for port in container(template["spec"])["ports"]}


def test_prometheus_finds_the_jobs_of_the_rules() -> None:
    """The ServiceMonitor gives the targets the labels that the alerts and Grafana use."""
    monitor, rules = only("ServiceMonitor"), only("PrometheusRule")
    (selected,) = monitor["spec"]["selector"]["matchExpressions"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert selected["key"] == monitor["spec"]["jobLabel"]
    jobs = set(re.findall(r'job="(\w+)"', str(rules)))
    assert set(selected["values"]) == jobs
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["host"]
    services = [each for _, each in unkustomized() if each["kind"] == "Service"]
    for service in services:
        if service["metadata"]["labels"][selected["key"]] in jobs:
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_rules_are_accepted_by_prometheus(program: Program, tmp_path: Path) -> None:
    """Promtool accepts the groups of the PrometheusRule."""
    (rules,) = load_all((KUBERNETES / "monitoring" / "rules.yaml").read_text())
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(rules["spec"]))
    checked = subprocess.run(
        [program("promtool"), "check", "rules", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_documented_commands(tmp_path: Path) -> None:
    """The commands of docs/install.md write the password, and apply an overlay with a fibweb."""
    section = (ROOT / "docs" / "install.md").read_text().partition("## Kubernetes\n")[2]
    section = section.partition("\n## ")[0]
    _clone, apply, forward = re.findall(r"(?m)^    \$ (.*)", section)
    copy = tmp_path / "deploy" / "kubernetes"
    shutil.copytree(KUBERNETES, copy, ignore=shutil.ignore_patterns("password"))
    stub = tmp_path / "kubectl"
    render_command = shlex.join(kustomize())
    stub.write_text(f'#!/bin/sh -e\n[ "$1 $2" = "apply -k" ]\nexec {render_command} "$3"\n')
    stub.chmod(0o755)
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    applied = subprocess.run(
        ["sh", "-ec", apply],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
    manifests = load_all(applied.stdout)
    (secret,) = of_kind(manifests, "Secret")
    assert len(base64.b64decode(secret["data"]["password"]).strip()) == 64
    match = re.fullmatch(
        r"kubectl --namespace (\w+) port-forward service/(\w+) 8080:(\d+)", forward
    )
    assert match
    (service,) = (
        each for each in of_kind(manifests, "Service") if each["metadata"]["name"] == match[2]
    )
    assert service["metadata"]["namespace"] == match[1]
    assert int(match[3]) in {port["port"] for port in service["spec"]["ports"]}


@pytest.fixture
def cache(program: Program, server: RunningServer, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Addresses of nginx with the configuration of the cache, and of its probes."""
    web = start_fibweb(tmp_path / "fibweb.log", "--servers", server.address)
    address, probes = (f"127.0.0.1:{free_port()}" for _ in range(2))
    changes = {
        "/tmp/": f"{tmp_path}/",
        "listen 8080 default_server;": f"listen {address} default_server;",
        "listen 8081;": f"listen {probes};",
        "fibweb:80": f"127.0.0.1:{web.port}",
        "/var/lib/nginx": f"{tmp_path}/cache",
        "10.0.0.0/8": "127.0.0.0/8",
    }
    texts = {name: cache_text(name) for name in ("nginx.conf", "fib.conf")}
    for before, after in changes.items():
        assert any(before in text for text in texts.values()), before
        texts = {name: text.replace(before, after) for name, text in texts.items()}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "cache").mkdir()
    (deployment,) = (
        manifest
        for path, manifest in unkustomized()
        if path == "cache/nginx.yaml" and manifest["kind"] == "Deployment"
    )
    _nginx, *arguments = container(deployment["spec"]["template"]["spec"])["command"]
    changes = {"/etc/fib": str(tmp_path), "daemon off;": f"daemon off; user {getpass.getuser()};"}
    for before, after in changes.items():
        arguments = [argument.replace(before, after) for argument in arguments]
    command = [program("nginx"), *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            wait_until(lambda: listening(address) and listening(probes), "nginx listens")
            yield address, probes
        finally:
            child.terminate()
            child.wait(DEADLINE_SECONDS)
            web.stop()


def get(address: str, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Return the status, X-Cache-Status and the body at a path."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.headers.get("X-Cache-Status", ""), reply.read()
    finally:
        connection.close()


def test_nginx_caches(cache: tuple[str, str]) -> None:
    """nginx caches responses, answers probes, and knows the client behind the Ingress."""
    address, probes = cache
    first, again = get(address, "/fib/10"), get(address, "/fib/10")
    assert (first[1], again[1]) == ("MISS", "HIT")
    assert first[2] == again[2]
    assert get(probes, "/healthz") == (200, "", b"alive\n")
    assert get(address, "/healthz")[0] == 200
    assert get(address, "/healthz", **{"X-Forwarded-For": "198.51.100.1"})[0] == 403
