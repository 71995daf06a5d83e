"""The lowest versions in setup.cfg, which the tox environment `floors` installs."""

from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

RUNTIME_EXTRAS = ("cli", "server", "web", "srv")
"""Extras whose lowest versions are tested."""


def read(name: str) -> ConfigParser:
    """Return the text of a configuration file of this repository."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


def versions(lines: str, operator: str) -> dict[str, str]:
    """Return the versions that requirements name with an operator, by package."""
    found = {}
    for line in lines.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            for part in requirement.specifier:
                if part.operator == operator:
                    found[requirement.name] = part.version
    return found


def test_lowest_versions_are_tested() -> None:
    """The environment `floors` installs each lowest version, that of Python included."""
    setup, floors = read("setup.cfg"), read("tox.ini")["testenv:floors"]
    extras = setup["options.extras_require"]
    required = "\n".join(extras[name] for name in RUNTIME_EXTRAS)
    assert versions(floors["deps"], "==") == versions(required, ">=")
    python = setup["options"]["python_requires"].removeprefix(">= ")
    assert floors["base_python"] == f"python{python}"


def test_each_requirement_has_a_floor() -> None:
    """Each requirement names its lowest version."""
    setup = read("setup.cfg")
    for name in RUNTIME_EXTRAS:
        option = setup["options.extras_require"][name]
        lines = [line for line in option.splitlines() if line[:1] not in ("", "#")]
        assert len(versions("\n".join(lines), ">=")) == len(lines)


def test_shared_requirements_are_alike() -> None:
    """A package in several extras has the same versions in each."""
    specifiers: dict[str, set[str]] = {}
    for name in RUNTIME_EXTRAS:
        for line in read("setup.cfg")["options.extras_require"][name].splitlines():
            if line[:1] not in ("", "#"):
                requirement = Requirement(line)
                specifiers.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in specifiers.items() if len(found) > 1} == {}
