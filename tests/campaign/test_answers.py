"""Files of answers: names as earlier versions gave them, so that what is there is found again."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from moosearch.analysis.answers import cache_of, cached, make_folders, store, write_answer
from moosearch.analysis.setup import Setup
from moosearch.attacks import Threat
from moosearch.attacks.suite import named_attacks
from moosearch.data import Split
from moosearch.errors import CampaignError
from moosearch.registry import to_tree
from moosearch.verify import Effort
from moosearch.verify.layered import Approach

LINF = Threat("linf", 0.1)
BOUNDS = Effort(complete=False)
SQUEEZERS = [{"name": "bit_depth", "bits": 1}, {"name": "median_filter", "size": 2}]


@pytest.fixture
def setup(tmp_path):
    """Returns a function that makes a setup of so many images and attacks."""

    def make(count, *attacks, split="val", threat=LINF, data=None):
        images = Split(torch.zeros(count, 1, 2, 2), torch.zeros(count, dtype=torch.int64))
        model = SimpleNamespace(name="a091dc4f50c6", folder=tmp_path / "evaluations")
        named = named_attacks(attacks, threat) if attacks else {}
        return Setup(model, images, split, data, threat, named, seed=3, batch=0)

    return make


def test_evaluations_and_detections_have_the_names_that_they_had(setup):
    some = setup(60, "fgsm", "pgd3")
    write_answer(some, some.conditions, {"finished": True}, pd.DataFrame({"a": [1]}))
    other = setup(360, "fgsm", split="test", threat=Threat("l2", 0.3))
    write_answer(other, other.conditions, {"finished": False}, pd.DataFrame({"a": [1]}))
    behind = setup(20, "fgsm", "pgd3", split="test")
    conditions = {**behind.conditions, "dataset": "digits", "fpr": 0.05, "squeezers": SQUEEZERS}
    write_answer(behind, conditions, {"finished": True}, pd.DataFrame({"a": [1]}), "detection-")
    stems = ("detection-test-linf-0.1-66b0ae50", "test-l2-0.3-bff9f579", "val-linf-0.1-394229b8")
    names = sorted(path.name for path in some.model.folder.iterdir())
    assert names == [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")]
    told = json.loads((some.model.folder / "val-linf-0.1-394229b8.json").read_text())
    assert told["format"] == 1
    assert told["finished"]
    assert {"device", "versions", "candidate", "eps", "seed", "images"} <= told.keys()


def test_proofs_and_neighborhoods_have_the_names_that_they_had(setup):
    conditions = [to_tree(BOUNDS, Effort), "test", 0.02]
    assert cache_of(setup(4), "certified-test-0.02", conditions).name == "certified-test-0.02-8b7fd1c5"
    approach = Approach(tolerance=0.2, deadline=30.0, effort=BOUNDS)
    name = cache_of(setup(4), "neighborhoods", [to_tree(approach, Approach)]).name
    assert name == "neighborhoods-6e638d18"


def test_another_version_of_ones_own_images_is_another_condition(setup, tmp_path):
    own = tmp_path / "own.npz"
    names = set()
    for text in ("a", "ab"):
        own.write_text(text)
        names.add(cache_of(setup(4, data=own), "certified", []).name)
    assert len(names) == 2


def test_what_is_there_is_not_asked_for_again(tmp_path):
    asked = []

    def work(number):
        asked.append(number)
        return BOUNDS

    heard = []
    for _ in range(2):
        given = {"workers": 1, "progress": lambda *done: heard.append(done)}
        assert cached(work, {"1": 1, "2": 2}, Effort, tmp_path, **given) == [BOUNDS, BOUNDS]
    assert asked == [1, 2]
    (tmp_path / "1.json").write_text("{")
    cached(work, {"1": 1, "2": 2}, Effort, tmp_path, **given)
    assert asked == [1, 2, 1]
    assert heard == [(0, 2), (1, 2), (2, 2), (2, 2), (1, 2), (2, 2)]


def test_what_cannot_be_written_is_one_line(setup, tmp_path):
    (tmp_path / "evaluations").write_text("in the way")
    with pytest.raises(CampaignError, match="evaluations: cannot write here"):
        make_folders([setup(2)])
    with pytest.raises(CampaignError, match=r"a\.json: cannot be written"):
        store(tmp_path / "evaluations" / "a.json", {})
