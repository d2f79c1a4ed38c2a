"""A power cut in mid-run: a file is truncated at a random byte, or gone."""

import os
import random
import shutil

import pytest
from injection.driver import Moment
from injection.known import evaluated
from injection.site import Site
from injection.spaces import base

long = pytest.mark.long
FILES = (
    "study.db",
    "events.jsonl",
    "campaign.yaml",
    "environment.json",
    "candidates.csv",
    "front.csv",
    "checkpoints/*",
    "models/*/weights.safetensors",
)
MOMENT = Moment("epoch", 23, 30)  # the third epoch of the second candidate of the second generation


@pytest.fixture(scope="session")
def killed(shared):
    """The folder of a campaign whose driver was killed."""

    def search(desk):
        desk.mkdir()
        site = Site(desk / "c", desk, base(), "")
        driver = site.search()
        driver.wait_for(MOMENT)
        driver.kill()
        site.struck(driver, MOMENT, -9)

    return shared("killed", search) / "c"


def _cases():
    for file in FILES:
        for how in ("truncated", "deleted"):
            short = (file, how) in {("study.db", "truncated"), ("events.jsonl", "truncated")}
            yield pytest.param(file, how, id=f"{file} {how}", marks=pytest.mark.slow if short else long)


def _harm(path, how):
    if how == "deleted":
        path.unlink()
    else:
        os.truncate(path, random.Random(path.name).randrange(1, path.stat().st_size))


@pytest.mark.parametrize(("file", "how"), list(_cases()))
def test_power_cut(site, killed, file, how):
    shutil.copytree(killed, site.folder)
    site.row = {"evaluator": "serial", "moment": str(MOMENT), "exit": -9}
    site.before = evaluated(site.folder)
    harmed = list(site.folder.glob(file))
    assert harmed
    for path in harmed:
        _harm(path, how)
    site.resume()
    site.check()
    for identity in (line.split(",")[0] for line in site.reference.splitlines()[1:2]):
        export = site.run("export", site.folder, "--pick", identity)
        assert site.settled(export) == 0, export.said
