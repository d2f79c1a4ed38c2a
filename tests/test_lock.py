"""requirements.lock is in step with pyproject.toml, and says nothing of the machine that wrote it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from moosearch.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PINS = [Requirement(line) for line in LINES if not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = PROJECT["optional-dependencies"]
RENEW = "`make lock` renews requirements.lock"


def environment(python, system, platform, machine):
    version = {"python_version": python, "python_full_version": f"{python}.9", "extra": ""}
    place = {"platform_system": system, "sys_platform": platform, "platform_machine": machine}
    return default_environment() | version | place


ENVIRONMENTS = [
    environment(python, *machine)
    for python in ("3.11", "3.12", "3.13")
    for machine in (
        ("Linux", "linux", "x86_64"),
        ("Linux", "linux", "aarch64"),
        ("Darwin", "darwin", "arm64"),
        ("Windows", "win32", "AMD64"),
    )
]


def pinned(there):
    """What is installed in an environment: version by canonical name."""
    found = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(there):
            assert canonicalize_name(pin.name) not in found, f"{pin.name}: two versions at once"
            (only,) = pin.specifier
            assert only.operator == "=="
            found[canonicalize_name(pin.name)] = only.version
    return found


@pytest.mark.parametrize("there", ENVIRONMENTS, ids=lambda e: f"{e['python_version']}-{e['sys_platform']}")
def test_every_requirement_is_pinned_within_its_bounds(there):
    found = pinned(there)
    for text in [*PROJECT["dependencies"], *(text for texts in EXTRA.values() for text in texts)]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            continue
        version = found.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: {RENEW}"
        assert requirement.specifier.contains(version), f"{text}, and {version} is locked: {RENEW}"


def test_what_requirements_require_is_pinned_too():
    """Of all that is installed here in its locked version, so offline."""
    found, looked = pinned(default_environment() | {"extra": ""}), 0
    for name, version in found.items():
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if installed.version != version:
            continue
        looked += 1
        for requirement in map(Requirement, installed.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                other = found.get(canonicalize_name(requirement.name))
                assert other is not None, f"{name} requires {requirement.name}, not locked: {RENEW}"
                assert requirement.specifier.contains(other, prereleases=True), f"{name}: {requirement}"
    assert looked > 20 or not metadata.packages_distributions().get("torch")


def test_it_names_no_host_and_no_path():
    assert LINES[1].split() == ["#", "make", "lock"]
    for line in LINES[2:]:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( ; [a-z0-9_.<>=!'() -]+)?", line, re.IGNORECASE), line


def test_what_is_known_to_be_bad_is_excluded():
    (solver,) = map(Requirement, EXTRA["verify"])
    assert not solver.specifier.contains("1.16.0")
    assert solver.specifier.contains("1.15.1")


def test_every_extra_has_its_module_and_is_in_dev():
    assert EXTRA.keys() - {"dev"} == EXTRAS.keys()
    everything = next(r for r in map(Requirement, EXTRA["dev"]) if r.name == PROJECT["name"])
    assert everything.extras == EXTRAS.keys()


def test_the_environment_is_built_from_it():
    lines = (ROOT / "Makefile").read_text()
    assert "$(READY): pyproject.toml $(LOCK)" in lines
    assert "--constraint $(LOCK)" in lines
