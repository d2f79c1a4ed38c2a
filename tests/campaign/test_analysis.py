"""`moosearch analyze`: distances of classes, angles of perturbations, tasks by similarity."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.datasets import load_digits

import moosearch
from moosearch.analysis import diversity as analysis
from moosearch.attacks.multitask import Mixed
from moosearch.data import labels_of
from moosearch.registry import build
from moosearch.space.files import load
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A candidate with one auxiliary task, trained by mixed perturbation."""
    folder = tmp_path_factory.mktemp("analysis") / "run"
    assignments = ["training.attack=mixed", "candidate.training.attack.mixed.steps=3"]
    return moosearch.train(tiny() | {"campaign": {"name": "t"}}, assignments=assignments, out=folder)


def test_angles_are_those_of_the_perturbations_of_each_task(trained):
    """Twin: numpy's arc cosines of the perturbations of every validation image."""
    angles, variance = analysis.perturbations(trained.folder.root, most=0)
    (row,) = angles.to_dict("records")
    assert variance["images"].item() == 1437
    (evaluation,) = trained.evaluations
    spec = build(CandidateSpec, evaluation.candidate.spec)
    net = load_network(trained.folder, evaluation, spec)
    val = spec.dataset.load().val
    attack = spec.training.attack
    assert isinstance(attack, Mixed)
    generator = torch.Generator().manual_seed(5)  # other random starts: the numbers agree as samples do
    labels = labels_of(spec.dataset.tasks, val.y)
    eta = attack.task_perturbations(net.eval(), val.x, labels, generator=generator).numpy()

    def degrees(a, b):
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        return np.degrees(np.arccos(cosine.clip(-1, 1)))

    x = val.x.numpy()
    for name, angles in {
        "eta_0, eta_m": degrees(eta[0], eta[1]),
        "x, eta_0": degrees(x, eta[0]),
        "x, eta_0 + eta_m": degrees(x, eta[0] + eta[1]),
    }.items():
        assert row[f"mean {name}"] == pytest.approx(angles.mean(), abs=1.5)
        assert row[f"std {name}"] == pytest.approx(angles.std(ddof=1), rel=0.15)
    assert row["increase"] == pytest.approx(row["std x, eta_0 + eta_m"] - row["std x, eta_0"])
    assert (row["task"], row["images"]) == ("odd_even", 360)


def test_perturbations_prints_and_writes_both_tables(cli, trained):
    root = trained.folder.root
    code, out, _ = cli("analyze", "perturbations", root, "--images", "50")
    assert code == 0
    (row,) = pd.read_csv(root / "perturbations.csv").to_dict("records")
    assert row["images"] == 50
    assert row["inter_class_variance"] == pytest.approx(digits_variance(), rel=1e-3)
    assert f"{row['inter_class_variance']:.4f}" in out


def digits_variance():
    """Brute force over the images that are not held out for testing: near that of all of them."""
    from moosearch.data.digits import Digits

    splits = Digits().load()
    x = np.concatenate([splits.train.x.numpy(), splits.val.x.numpy()]).reshape(-1, 64)
    y = np.concatenate([splits.train.y.numpy(), splits.val.y.numpy()])
    means = [
        np.linalg.norm(x[y == k][:, None] - x[y == j][None], axis=2).mean()
        for k in range(10)
        for j in range(10)
        if k != j
    ]
    assert len(load_digits().target) == len(x) + 360
    return float(np.mean(means))


def test_classes_as_csv(cli, tiny_file):
    code, out, _ = cli("analyze", "classes", tiny_file, "--csv")
    assert code == 0
    (row,) = pd.read_csv(io.StringIO(out)).to_dict("records")
    assert (row["dataset"], row["images"], row["classes"]) == ("digits", 1437, 10)
    assert row["inter_class_variance"] == pytest.approx(digits_variance(), rel=1e-3)


def test_task_by_similarity_can_be_pasted_into_the_file(cli, tiny_file, tmp_path):
    code, out, _ = cli("analyze", "tasks", tiny_file, "--groups", "3")
    assert code == 0
    data = yaml.safe_load(tiny_file.read_text())
    own = yaml.safe_load(out)
    members = [member for group in own["own_tasks"][0]["groups"].values() for member in group]
    assert sorted(members) == [str(digit) for digit in range(10)]
    data["candidate"]["dataset"] |= own | {"auxiliary": [own["own_tasks"][0]["name"]]}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(data))
    code, _, _ = cli("validate", path)
    assert code == 0
    assert analysis.classes(load(path))["classes"].item() == 10


def test_candidates_without_auxiliary_tasks_or_steps_are_refused(cli, tiny, tmp_path):
    plain = tiny() | {"campaign": {"name": "p"}}
    moosearch.train(
        plain,
        assignments=["candidate.dataset.auxiliary=[]", "training.attack={name: pgd}"],
        out=tmp_path / "a",
    )
    code, _, err = cli("analyze", "perturbations", tmp_path / "a")
    assert code == 2
    assert "auxiliary" in err
    moosearch.train(plain, assignments=["training.attack={name: none}"], out=tmp_path / "b")
    code, _, err = cli("analyze", "perturbations", tmp_path / "b")
    assert code == 2
    assert "pgd" in err


@pytest.mark.parametrize(("command", "images"), [("classes", 1), ("tasks", 6)])
def test_too_few_images_are_refused(cli, tiny_file, command, images):
    code, _, err = cli("analyze", command, tiny_file, "--images", images)
    assert code == 2
    assert "--images" in err


def test_recipe_that_misses_a_constraint_is_analyzed_and_exported_all_the_same(cli, tiny_file, tmp_path):
    missed = ["--set", "campaign.constraints=[clean_accuracy >= 0.99]"]
    code, out, _ = cli("train", tiny_file, "--out", tmp_path / "run", *missed)
    assert code == 0
    assert "constraint not met: clean_accuracy >= 0.99" in out
    code, _, _ = cli("analyze", "perturbations", tmp_path / "run", "--images", 20)
    assert code == 0


def test_impossible_number_of_groups_is_refused(cli, tiny_file):
    code, _, err = cli("analyze", "tasks", tiny_file, "--groups", "11")
    assert code == 2
    assert "groups" in err
