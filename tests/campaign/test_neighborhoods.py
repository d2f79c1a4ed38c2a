"""Layered neighborhoods of a trained network: what is written, read again, drawn and refused."""

import json
import shutil

import numpy as np
import pytest
import yaml

import moosearch
from moosearch.analysis.neighborhoods import PROTOCOL, neighborhoods
from moosearch.analysis.setup import setups
from moosearch.data.double_digits import DoubleDigits
from moosearch.errors import SpecError
from moosearch.report.plots.neighborhoods import eps_map
from moosearch.verify import Effort, Layers
from moosearch.verify.falsify import attack, margins
from moosearch.verify.layered import Approach, weights_of

SPACE = """
campaign:
  objectives:
    - {name: clean_accuracy}
    - {name: robust_accuracy, attacks: [{name: pgd, eps: 0.03, step: 0.01, steps: 3, objective: margin}]}
  budget: {population: 1, generations: 1}
  evaluator: serial
candidate:
  dataset: {name: double_digits, source: digits, canvas: 16, images: 3000, test_images: 60}
  architecture: {name: shallow_cnn, width: 12, pool: 2}
  training:
    epochs: 12
    batch_size: 32
    attack: none
    optimizer: {kind: adamw, lr: 0.01, schedule: one_cycle}
"""
ROUGH = Approach(tolerance=0.1, deadline=60.0, effort=Effort(complete=False, restarts=4, steps=10))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layered") / "c"
    return moosearch.search(yaml.safe_load(SPACE), out=folder, overrides=["campaign.keep=all"])


def looked_for(folder, *, targets="both", **given):
    return neighborhoods(setups(folder, PROTOCOL, **given), approach=ROUGH, targets=targets)


@pytest.fixture(scope="module")
def found(trained):
    (result,) = looked_for(trained.folder.root, images=12)
    return result


@pytest.mark.slow
def test_neighborhoods_are_robust_against_samples(trained, found):
    """Neither 10,000 random images of each, half of them corners, nor a strong attack hide a target."""
    from moosearch.analysis.subject import trained as load
    from moosearch.verify import Piecewise

    (model,) = load(trained.folder.root)
    network = Piecewise.of(model.net.deployed(), model.shape)
    test = model.dataset.load().test
    assert len(found.found) >= 4
    assert len(found.found) + 2 * found.unseen == 24
    generator = np.random.default_rng(0)
    for each in found.found:
        layers = Layers.around(found.regions[each.image] == each.perturbed + 1)
        x = test.x[each.image].double().div(255).flatten().numpy()
        box = layers.neighborhood(x, np.array(each.eps))
        samples = generator.uniform(box.lower, box.upper, (5_000, x.size))
        corners = np.where(generator.random((5_000, x.size)) < 0.5, box.lower, box.upper)
        for some in (samples, corners):
            assert (margins(network(some), each.target, 2) < 0).all()
        strong = {"top": 2, "restarts": 50, "steps": 100, "generator": generator}
        assert attack(network, box, each.target, **strong)[1] < 0
        assert each.size == pytest.approx(weights_of("even", layers) @ each.eps)
        assert each.size <= each.at_most + 1e-9
        assert len(each.faces) == layers.count
        for face, witness in zip(each.faces, each.witnesses, strict=True):
            assert (witness is not None) == (face == "blocked")
            if witness is not None:
                hidden = np.array(witness.x)[None]
                assert margins(network(hidden), each.target, 2)[0] >= 0
                assert each.target not in witness.seen
                assert set(np.argsort(-network(hidden)[0])[:2]) == set(witness.seen)


@pytest.mark.slow
def test_all_is_on_disk_and_is_not_looked_for_again(trained, found, monkeypatch):
    assert len(list(found.folder.glob("0*.json"))) == len(found.found)
    assert json.loads((found.folder / "summary.json").read_text())["neighborhoods"] == len(found.found)

    def never(*_given):
        raise AssertionError

    monkeypatch.setattr("moosearch.analysis.neighborhoods.neighborhood", never)
    (again,) = looked_for(trained.folder.root, images=12)
    assert again.found == found.found
    assert again.folder == found.folder


@pytest.mark.slow
def test_one_target_an_image_by_turns(trained, found):
    (half,) = looked_for(trained.folder.root, images=12, targets="alternating")
    assert {(e.image, e.target) for e in half.found} == {
        (e.image, max(e.target, e.perturbed) if e.image % 2 else min(e.target, e.perturbed))
        for e in found.found
    }
    assert half.unseen == found.unseen


@pytest.mark.slow
def test_what_is_missing_or_damaged_is_looked_for_again(trained, found, tmp_path):
    copy = shutil.copytree(trained.folder.root, tmp_path / "c")
    place = copy / found.folder.relative_to(trained.folder.root)
    files = sorted(place.glob("0*.json"))
    files[0].unlink()
    files[1].write_text("{")
    (again,) = looked_for(copy, images=12)
    assert [(e.image, e.target, e.eps) for e in again.found] == [
        (e.image, e.target, e.eps) for e in found.found
    ]


@pytest.mark.slow
def test_tables(found):
    frame, summary, relations = found.to_frame(), found.summary(), found.relations()
    assert summary["size"] == pytest.approx(frame["size"].mean())
    assert summary["size_error"] == pytest.approx(frame["size"].sem())
    assert summary["queries_attack"] == frame["queries_attack"].sum() > 0
    assert relations.shape == (10, 10)
    first = found.found[0]
    same = frame[(frame["target"] == str(first.target)) & (frame["perturbed"] == str(first.perturbed))]
    assert relations.loc[str(first.target), str(first.perturbed)] == pytest.approx(same["size"].mean())
    heat = eps_map(first, found.regions[first.image])
    assert heat.shape == (16, 16)
    assert (heat[found.regions[first.image] == first.perturbed + 1] == first.eps[0]).all()


@pytest.mark.slow
def test_the_command(trained, cli, tmp_path):
    given = ["--images", "2", "--bounds-only", "--tolerance", "0.2", "--deadline", "30"]
    code, out, err = cli(
        "neighborhoods", trained.folder.root, *given, "--weights", "inner", "--cut", "sensitivity"
    )
    assert code == 0, err
    assert "guided, cut sensitivity, inner weights, tolerance 0.2" in " ".join(out.split())
    for name in ("heat_maps.png", "relations.pdf", "witnesses.png", "neighborhoods.csv", "relations.csv"):
        assert len(list(trained.folder.root.rglob(name))) >= 1
    code, out, _ = cli("neighborhoods", trained.folder.root, *given, "--json")
    assert json.loads(out)[0]["neighborhoods"] <= 4


@pytest.mark.slow
def test_images_of_ones_own(trained, tmp_path):
    dataset = DoubleDigits(source="digits", canvas=16, images=3000, test_images=60)
    test, regions = dataset.load().test, dataset.test_regions()
    arrays = {"x_train": test.x[:, 0].numpy(), "y_train": test.y.numpy()}
    arrays |= {"x_test": test.x[:4, 0].numpy(), "y_test": test.y[:4].numpy()}
    np.savez(tmp_path / "own.npz", **arrays, regions_test=regions[:4])
    (own,) = looked_for(trained.folder.root, data=tmp_path / "own.npz", images=4)
    (same,) = looked_for(trained.folder.root, images=4)
    assert [e.eps for e in own.found] == [e.eps for e in same.found]
    assert own.folder != same.folder
    np.savez(tmp_path / "bare.npz", **arrays)
    with pytest.raises(SpecError, match="does not say whose pixels are whose: `regions_test` is missing"):
        looked_for(trained.folder.root, data=tmp_path / "bare.npz", images=4)


def test_images_with_one_label_have_no_layers(finished, cli):
    code, _, err = cli("neighborhoods", finished.folder.root)
    assert code == 2
    assert "its images have 1 label, expected 2" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "iner"], "inner"),
        (["--cut", "fix"], "fixed"),
        (["--algorithm", "greedy"], "naive"),
        (["--tolerance", "0"], "tolerance"),
        (["--deadline", "-1"], "deadline"),
        (["--targets", "first"], "alternating"),
        (["--eps", "0.1"], "No such option: --eps"),
        (["--images", "1000"], "images: got 1000, expected at most 60"),
    ],
)
def test_wrong_input_is_refused(trained, cli, arguments, words):
    code, _, err = cli("neighborhoods", trained.folder.root, *arguments)
    assert code == 2
    assert words in err


def test_where_nothing_is_seen_all_is_written_and_drawn(trained, cli, monkeypatch):
    monkeypatch.setattr("moosearch.analysis.neighborhoods.seen", lambda _network, _question: False)
    code, out, err = cli("neighborhoods", trained.folder.root, "--images", "4", "--deadline", "299")
    assert code == 0, err
    assert "0 neighborhoods" in out
    code, out, _ = cli("neighborhoods", trained.folder.root, "--images", "4", "--deadline", "299", "--json")
    assert json.loads(out)[0]["size"] is None


@pytest.mark.slow
def test_another_version_of_ones_own_images_is_looked_at_anew(trained, tmp_path):
    dataset = DoubleDigits(source="digits", canvas=16, images=3000, test_images=60)
    test, regions = dataset.load().test, dataset.test_regions()
    folders = []
    for first in (0, 4):
        rows = slice(first, first + 4)
        x, y = test.x[rows, 0].numpy(), test.y[rows].numpy()
        np.savez_compressed(
            tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y, regions_test=regions[rows]
        )
        (found,) = looked_for(trained.folder.root, data=tmp_path / "own.npz", images=4)
        folders.append(found.folder)
    assert folders[0] != folders[1]
