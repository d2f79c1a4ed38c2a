"""The share of images that are proved: under what attacks leave, and refused where nothing can be proved."""

import json
import sys

import pytest
import torch
from torch import nn

import moosearch
from moosearch.data import Split
from moosearch.data.tasks import Task
from moosearch.models import RobustNet
from moosearch.training import Subject
from moosearch.training.verified import VerifiedFraction

SPACE = """
campaign:
  name: proofs
  objectives:
    - {name: clean_accuracy}
    - {name: robust_accuracy, attacks: [{name: pgd, eps: 0.01, step: 0.005, steps: 5}], images: 20}
    - {name: verified_fraction, eps: 0.01, images: 20}
  budget: {population: 2, generations: 1}
  evaluator: serial
  confirmation: {seeds: 1, attacks: [pgd20], images: 20}
candidate:
  dataset: digits
  architecture: {name: shallow_cnn, width: {integer: [2, 3]}, pool: 1}
  training: {epochs: 6, batch_size: 64, optimizer: {lr: 0.01}, attack: {name: fgsm, eps: 0.05}}
"""


def threshold_subject(values, labels):
    """A network that says 1 where the only pixel is above one half, and images of one pixel."""
    net = RobustNet(nn.Flatten(), 1, 1, [2]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.heads[0].bias.copy_(torch.tensor([0.5, 0.0]))
    images = Split(torch.tensor(values).reshape(-1, 1, 1, 1), torch.tensor(labels))
    return Subject(net, images, (Task.main(["low", "high"]),), (1, 1, 1), 0)


@pytest.mark.parametrize(
    ("eps", "expected"), [(0.01, 6 / 7), (0.07, 5 / 7), (0.12, 4 / 7), (0.2, 3 / 7), (0.35, 2 / 7), (0.45, 0)]
)
@pytest.mark.parametrize("time_limit", [0.0, 5.0])
def test_an_exact_fraction_by_distance_to_the_threshold(eps, expected, time_limit):
    subject = threshold_subject([0.1, 0.9, 0.9, 0.35, 0.6, 0.45, 0.8], [0, 1, 0, 0, 1, 0, 1])
    assert VerifiedFraction(eps=eps, time_limit=time_limit).measure(subject) == expected


def test_the_first_images_alone():
    subject = threshold_subject([0.1, 0.9, 0.9, 0.35], [0, 1, 0, 0])
    assert VerifiedFraction(eps=0.01, images=2).measure(subject) == 1
    assert VerifiedFraction(eps=0.01, images=0).measure(subject) == 3 / 4


def test_bounds_need_no_solver(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    subject = threshold_subject([0.1, 0.9], [0, 1])
    assert VerifiedFraction(eps=0.01).measure(subject) == 1


@pytest.mark.slow
def test_a_campaign_searches_and_confirms_it(tmp_path, cli):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    campaign = moosearch.search(space, out=tmp_path / "proofs")
    for member in campaign.front:
        values = member.objectives
        assert 0 <= values["verified_fraction"] <= values["robust_accuracy"]
        low, high = member.intervals["verified_fraction"]
        assert low <= values["verified_fraction"] <= high
    assert max(m.objectives["verified_fraction"] for m in campaign.front) > 0, "something is proved"
    code, _, err = cli("confirm", campaign.folder.root)
    assert code == 0, err
    for path in campaign.folder.confirmed.glob("*/1.json"):
        stored = json.loads(path.read_text())
        assert stored["objectives"]["verified_fraction"] <= stored["objectives"]["robust_accuracy"]
        assert "verified_fraction" not in stored["judgment"]["as_searched"], "a proof is not overestimated"
    code, _, err = cli("export", campaign.folder.root, "--to", tmp_path / "model")
    assert code == 0, err
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["objectives"]["verified_fraction"]["eps"] == 0.01


def test_a_space_whose_networks_cannot_be_verified_is_refused(tmp_path, cli):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.replace("pool: 1}", "activation: {choice: [relu, silu]}, pool: 1}"))
    code, _, err = cli("validate", space)
    assert code == 2
    assert "campaign.objectives.2: cannot be verified: the network has the layer SiLU" in err
    assert "architecture.activation=silu" in err


def test_a_constraint_on_it_is_checked_as_an_objective_is(tmp_path, cli):
    space = tmp_path / "space.yaml"
    text = SPACE.replace("pool: 1}", "activation: silu, pool: 1}")
    objective = "    - {name: verified_fraction, eps: 0.01, images: 20}\n"
    assert objective in text
    space.write_text(
        text.replace(objective, "").replace(
            "  budget:", "  constraints: [verified_fraction >= 0.1]\n  budget:"
        )
    )
    code, _, err = cli("validate", space)
    assert code == 2
    assert "campaign.constraints: cannot be verified: the network has the layer SiLU" in err
