"""Networks for images with several labels, from the search to predictions."""

import json
import shutil

import numpy as np
import pytest
import yaml

import moosearch
from moosearch.data.double_digits import DoubleDigits

SPACE = """
campaign:
  objectives:
    - {name: clean_accuracy}
    - {name: robust_accuracy, attacks: [{name: pgd, eps: 0.03, step: 0.01, steps: 3, objective: margin}]}
    - {name: flops}
  budget: {population: 3, generations: 1}
  evaluator: serial
  confirmation: {seeds: 1, attacks: [fgsm, pgd20, noise], images: 60}
candidate:
  dataset: {name: double_digits, source: digits, canvas: 16, images: 2000, test_images: 80}
  architecture: {name: small_cnn, width: {choice: [6, 8]}, depth: 4}
  training:
    epochs: 2
    batch_size: 32
    attack: {choice: [none, {name: pgd, eps: 0.03, step: 0.02, steps: 2}]}
    loss: {choice: [cross_entropy, binary_cross_entropy, trades, alp]}
    regularization: {input_gradient: 0.001, label_smoothing: 0.05}
    optimizer: {kind: adamw, lr: 0.01, schedule: one_cycle}
"""


@pytest.fixture(scope="module")
def original(shared):
    def make(folder):
        moosearch.search(yaml.safe_load(SPACE), out=folder, overrides=["campaign.keep=all"])

    return shared("several", make)


@pytest.fixture
def searched(original, tmp_path):
    """A copy, which a test may write to."""
    return moosearch.Campaign(shutil.copytree(original, tmp_path / "c"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "several.yaml"
    path.write_text(SPACE)
    return path


def test_a_search_learns_both_labels(searched):
    assert [e.status for e in searched.evaluations] == ["complete"] * 3
    best = max(e.objectives["clean_accuracy"] for e in searched.evaluations)
    assert best > 0.15, "chance is 1 of 45 pairs"
    for e in searched.evaluations:
        assert e.objectives["robust_accuracy"] <= e.objectives["clean_accuracy"]


def test_it_is_judged_by_attacks_that_know_of_several_labels(searched, cli):
    code, out, err = cli("evaluate", searched.folder.root, "--images", "40", "--csv")
    assert code == 0, err
    assert [line.split(",")[6] for line in out.splitlines()[1:]] == [
        *("clean", "fgsm", "pgd20", "pgd100", "noise"),
        *("worst_case", "average_robust"),
    ]
    code, _, err = cli("evaluate", searched.folder.root, "--attacks", "pgd20,autoattack")
    assert code == 2
    assert "autoattack: it knows of one label an image, and these have 2. Known for them: fgsm and pgd" in err


@pytest.mark.slow
def test_it_is_confirmed(searched, cli):
    code, out, err = cli("confirm", searched.folder.root, "--pick", "knee")
    assert code == 0, err
    (member,) = moosearch.Campaign(searched.folder.root).confirmation.members
    judgment = member.complete[0].judgment
    assert list(judgment.threats[0].attacks) == ["fgsm", "pgd20", "noise"]
    assert "black_box_stronger" not in [check.name for check in judgment.threats[0].checks]
    assert "1 member confirmed by 1 training," in out


def test_an_export_predicts_both_labels(searched, cli, tmp_path):
    target = searched.export("knee", tmp_path / "export", latency=False)
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["output"]["labels"] == 2
    test = DoubleDigits(source="digits", canvas=16, images=2000, test_images=80).load().test
    np.save(tmp_path / "images.npy", test.x.numpy())
    code, out, _ = cli("predict", target, tmp_path / "images.npy", "--json")
    assert code == 0
    rows = json.loads(out)
    right = sum(
        set(row["labels"]) == set(map(str, np.flatnonzero(y))) for row, y in zip(rows, test.y, strict=True)
    )
    assert len(rows[0]["top"]) == 3
    np.savez(tmp_path / "own.npz", x=test.x[:, 0].numpy(), y=test.y.numpy())
    code, out, err = cli("evaluate", target, "--data", tmp_path / "own.npz", "--attacks", "fgsm", "--csv")
    assert code == 0, err
    assert int(out.splitlines()[1].split(",")[7]) == right
    _, out, _ = cli("predict", target, tmp_path / "images.npy")
    assert out.splitlines()[1].split("┃")[4].strip() == "and"


@pytest.mark.parametrize("command", ["gallery", "alignment", "robustness", "detect"])
def test_what_knows_of_one_label_refuses(searched, cli, command):
    given = [command] if command == "detect" else ["analyze", command]
    attacks = ["--attacks", "pgd20"] if command == "detect" else []
    code, _, err = cli(*given, searched.folder.root, *attacks)
    assert code == 2
    assert "its images have 2 labels, expected 1 each" in err


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("candidate.training.loss=mart", "'mart' is not for images with 2 labels. Known: alp, binary"),
        ("candidate.training.loss=morel", "'morel' is not for images with 2 labels. Known: alp, binary"),
        ("candidate.training.attack=deepfool", "training.attack: attacks: deepfool: it knows of one label"),
        ("candidate.training.attack.pgd.targeted=random", "training.attack: attacks: pgd: it knows of one"),
        ("campaign.objectives.1.attacks=[square]", "objectives.1: attacks: 0: it knows of one label"),
        ("candidate.dataset.canvas=12", "canvas: got 12, expected at least 16"),
    ],
)
def test_wrong_spaces_are_refused(file, cli, assignment, words):
    code, _, err = cli("validate", file, "--set", assignment)
    assert code == 2
    assert words in err
