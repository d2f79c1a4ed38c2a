"""A power cut in mid-run: a file is truncated at a random byte, or gone."""

import os
import random
import shutil

import pytest
from injection.driver import Moment

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


@pytest.fixture(scope="module")
def cut(killed_site):
    """Where a driver was killed."""
    return killed_site(MOMENT)


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
def test_power_cut(site, cut, file, how):
    shutil.copytree(cut.folder, site.folder)
    site.row, site.before = dict(cut.row), dict(cut.before)
    harmed = list(site.folder.glob(file))
    assert harmed
    for path in harmed:
        _harm(path, how)
    site.resume()
    site.check()
    for identity in (line.split(",")[0] for line in site.reference.splitlines()[1:2]):
        export = site.run("export", site.folder, "--pick", identity)
        assert site.settled(export) == 0, export.said
