"""The undisturbed runs, the site of a fault, and the table; `make faults` runs all of them."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from injection.site import Site
from injection.spaces import base
from injection.table import FILE, frame

collect_ignore = ["plugins"]  # of the campaigns: imported here, they would be registered for all tests

ALL = "MOOSEARCH_FAULTS"
"""Environment variable that asks for all faults; a cut of them runs with all other tests."""


def pytest_configure(config):
    config.addinivalue_line("markers", "long: a fault that only `make faults` injects")


def pytest_collection_modifyitems(config, items):
    if ALL not in os.environ:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter):
    reports = [r for rs in terminalreporter.stats.values() for r in rs if isinstance(r, pytest.TestReport)]
    rows = [dict(r.user_properties) for r in reports if r.when == "teardown"]
    rows = sorted((row for row in rows if "fault" in row), key=lambda row: row["fault"])
    if ALL in os.environ and rows:
        table = frame(rows)
        terminalreporter.write_line(table.to_string(index=False))
        if len(rows) >= 25 and not terminalreporter.stats.get("failed"):
            table.to_csv(FILE, index=False)


@pytest.fixture(scope="session")
def undisturbed_folder(shared):
    """Return the campaign of a space that was searched undisturbed, with `serial`; nobody changes it."""

    def make(space):
        def search(desk):
            desk.mkdir()
            site = Site(desk / "c", desk, space, "")
            driver = site.search(MOOSEARCH_UNTROUBLED="1")
            try:
                assert site.settled(driver) == 0, driver.said
            finally:
                driver.kill()

        name = hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()[:8]
        return shared(f"undisturbed-{name}", search) / "c"

    return make


@pytest.fixture(scope="session")
def undisturbed(undisturbed_folder):
    """Return the front of a space."""
    return lambda space: (undisturbed_folder(space) / "front.csv").read_text()


@pytest.fixture
def make_site(undisturbed, tmp_path, request):
    """Return the site of a fault on a space; what still runs when the test is over is killed."""
    sites = []

    def make(space=None, name="c", reference=True):
        space = space or base()
        site = Site(tmp_path / name, tmp_path, space, undisturbed(space) if reference else "")
        sites.append(site)
        return site

    yield make
    for site in sites:
        for driver in site.drivers:
            driver.kill()
    rows = [site.row for site in sites if "exit" in site.row]
    name = request.node.name.removeprefix("test_").replace("_", " ").replace("[", ": ").rstrip("]")
    for row in rows[:1]:
        request.node.user_properties += [("fault", name), *row.items()]


@pytest.fixture
def site(make_site):
    """The site of a fault on the space of nine candidates."""
    return make_site()
