"""`moosearch analyze robustness | gallery | alignment`: numbers, files, and what the pictures show."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from moosearch.analysis.robustness import (
    PROTOCOL,
    Aligned,
    Shown,
    align,
    everything,
    radii_of,
    robustness,
    show,
    steps_of,
)
from moosearch.analysis.setup import setups
from moosearch.analysis.subject import trained
from moosearch.attacks.gradient import Pgd
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.judging import judge
from moosearch.judging.alignment import alignment, cosines, features
from moosearch.judging.gallery import Gallery
from moosearch.judgment import wilson
from moosearch.report.plots import robustness as plots
from moosearch.report.plots import style as figures


@pytest.fixture(scope="module")
def two(finished):
    """Two members of the front that differ."""
    ids = [e.candidate.id for e in finished.front]
    assert len(ids) > 1
    return ids[:2]


def asked(folder, **given):
    """Setups of a campaign's knee, or of other candidates."""
    return setups(folder, PROTOCOL, **given)


@pytest.fixture(scope="module")
def table(finished, two):
    return robustness(
        asked(finished.folder.root, rules=two, images=120), radii=[0.0, 0.05, 0.1, 1.0], steps=[1, 3]
    )


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory, skip_programs):
    """An exported folder; its programs are not needed here."""
    with pytest.MonkeyPatch.context() as patch:
        skip_programs(patch)
        return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


def test_a_point_is_what_judging_finds_with_its_interval(table, finished, two):
    """At the campaign's radius, up to what smaller radii found; the last number of steps is exact."""
    (model,) = trained(finished.folder.root, two[:1])
    images = model.dataset.load().val.first(120)
    default = Pgd(eps=0.1, step=0.01, steps=50, objective="margin")
    walk = dataclasses.replace(default, steps=3)
    judgment = judge(model.net, images, model.tasks, {"a": default, "walk": walk}, seed=model.seed)
    mine = table[table["candidate"] == model.name].set_index(["curve", "eps", "steps"])
    right = int(judgment.clean.sum())
    assert mine.loc[("eps", 0.0, 50), "correct"] == right
    point = mine.loc[("eps", 0.1, 50)]
    assert point["correct"] <= int(judgment.attacked["a"].robust.sum()) <= point["correct"] + 3
    last = mine.loc[("steps", 0.1, 3)]
    assert last["correct"] == int(judgment.attacked["walk"].robust.sum())
    for row in mine.to_dict("records"):
        assert row["accuracy"] == row["correct"] / 120
        assert (row["low"], row["high"]) == wilson(row["correct"], 120)
    assert set(mine["images_of"]) == {"digits val"}


def test_every_candidate_has_both_curves_and_they_fall(table, two):
    assert list(table["candidate"].unique()) == two
    for _, curve in table.groupby(["candidate", "curve"]):
        assert curve["accuracy"].is_monotonic_decreasing
    assert table.groupby("curve", sort=False).size().to_dict() == {"eps": 8, "steps": 4}
    assert table.loc[table["eps"] == 1.0, "accuracy"].max() < 0.1


def test_default_radii_go_to_twice_the_campaigns_and_then_to_everything(finished):
    found = robustness(asked(finished.folder.root, attacks="pgd1", images=20), steps=[1])
    radii = found.loc[found["curve"] == "eps", "eps"]
    assert radii.tolist() == pytest.approx([0.025 * i for i in range(9)] + [1.0])


def test_the_ball_of_everything_reaches_from_corner_to_corner():
    assert everything(Pgd(norm="linf"), (3, 4, 4)) == 1
    black, white = torch.zeros(3, 4, 4), torch.ones(3, 4, 4)
    assert everything(Pgd(norm="l2"), (3, 4, 4)) == pytest.approx(
        float((white - black).square().sum() ** 0.5)
    )


def test_an_attack_that_takes_no_walk_has_no_curve_of_steps(finished):
    found = robustness(asked(finished.folder.root, attacks="fgsm", images=30), radii=[0.0, 0.1])
    assert found["curve"].tolist() == ["eps", "eps"]
    assert len(plots.curves(found).axes) == 1


def test_lists_of_numbers_are_read_in_any_order():
    assert radii_of("8/255, 0,4/255") == [0, 4 / 255, 8 / 255]
    assert steps_of("10,1,10") == [1, 10]


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (radii_of, "0,-1", "--radii.1: got -1, expected at least 0"),
        (radii_of, "", "--radii"),
        (radii_of, "a", "fraction such as 8/255"),
        (steps_of, "1,0", "--steps.1: got 0, expected at least 1"),
        (steps_of, "1.5", "expected a valid integer"),
        (steps_of, "1,]", "not YAML"),
    ],
)
def test_other_lists_are_refused(read, text, says):
    with pytest.raises(SpecError, match=says.replace(".", r"\.")):
        read(text)


def test_curves_show_the_table(table, two):
    figure = plots.curves(table)
    near, far, steps = figure.axes
    for axes, curve, column in ((near, "eps", "eps"), (steps, "steps", "steps")):
        for name in two:
            mine = table[(table["candidate"] == name) & (table["curve"] == curve) & (table["eps"] < 1)]
            (line,) = [line for line in axes.lines if line.get_label() == name]
            scale = 255 if curve == "eps" else 1
            np.testing.assert_allclose(line.get_xdata(), mine[column] * scale)
            np.testing.assert_array_equal(line.get_ydata(), mine["accuracy"])
        bands = [band.get_datalim(axes.transData) for band in axes.collections]
        shown = table[(table["curve"] == curve) & (table["eps"] < 1)]
        assert min(band.y0 for band in bands) == pytest.approx(shown["low"].min())
        assert max(band.y1 for band in bands) == pytest.approx(shown["high"].max())
    assert [line.get_xdata()[0] for line in far.lines[: len(two)]] == [1.0] * len(two)
    assert [text.get_text() for text in figure.legends[0].texts] == two
    styles = {(line.get_color(), line.get_marker()) for line in near.lines if line.get_label() in two}
    assert len(styles) == 2


def exhibit(channels, count):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, channels, 6, 5, generator=generator)
    eta = torch.rand(count, channels, 6, 5, generator=generator) * 0.2 - 0.1
    y = torch.arange(count) % 3
    clean = torch.eye(3)[y] * 0.7 + 0.1
    adversarial = torch.eye(3)[torch.where(torch.arange(count) < 2, (y + 1) % 3, y)] * 0.4 + 0.2
    told = {"candidate": "c", "images_of": "d val", "attack": "pgd", "eps": 0.1, "norm": "linf"}
    images = Gallery(torch.arange(count), x, (x + eta).clamp(0, 1), y, clean, adversarial)
    return Shown(told, images, ("zero", "one", "a class of a long name"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gallery_shows_images_differences_and_predictions(channels, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "COLUMNS", 3)  # 4 images: two blocks of two
    shown = exhibit(channels, 4)
    figure = plots.gallery(shown)
    grid = np.array(figure.axes[:12]).reshape(6, 2)
    images = shown.images
    for place in range(4):
        clean, perturbed, added = grid[3 * (place // 2) :, place % 2][:3]
        eta = np.asarray((images.x_adv - images.x)[place])
        expected = np.asarray(images.x[place])
        if channels == 3:
            limit = float((images.x_adv - images.x).abs().max())
            np.testing.assert_allclose(clean.images[0].get_array(), expected.transpose(1, 2, 0))
            drawn = added.images[0].get_array()
            np.testing.assert_allclose(drawn, 0.5 + eta.transpose(1, 2, 0) / limit / 2, atol=1e-6)
        else:
            np.testing.assert_allclose(clean.images[0].get_array(), expected.mean(0), atol=1e-6)
            np.testing.assert_allclose(added.images[0].get_array(), eta.mean(0), atol=1e-6)
            assert added.images[0].norm.vmin == -added.images[0].norm.vmax
        assert perturbed.get_xlabel() == ("fooled" if place < 2 else "withstood")
        said = shown.classes[int(images.adversarial[place].argmax())]
        assert perturbed.get_title().startswith(said[:10])
        assert perturbed.get_title().endswith("60%")
        assert clean.get_title().endswith("80%")
    assert figures.save(tmp_path, "g", plots.gallery, shown).stat().st_size > 5000
    assert (tmp_path / "g.pdf").is_file()


def test_alignment_map_has_the_natural_image_across(tmp_path):
    generator = torch.Generator().manual_seed(0)
    natural, adversarial = torch.rand(2, 12, 7, generator=generator)
    y = torch.arange(12) // 4
    told = {"candidate": "c", "images_of": "d val", "attack": "pgd", "eps": 8 / 255, "norm": "linf"}
    found = Aligned(
        told | {"images": 12},
        alignment(natural, adversarial, y, 5),  # two classes without images
        cosines(natural, adversarial),
        y,
        tuple("abcde"),
    )
    figure = plots.alignment([found, found])
    singles, means = figure.axes[:2]
    np.testing.assert_array_equal(singles.images[0].get_array(), found.samples.T)
    np.testing.assert_array_equal(means.images[0].get_array().filled(np.nan), found.means.by_class.T)
    assert singles.get_ylim()[0] < singles.get_ylim()[1]  # the diagonal goes up
    assert [tick.get_text() for tick in singles.get_xticklabels()] == ["a", "b", "c"]
    figures.save(tmp_path, "a", plots.alignment, [found])


def test_alignment_of_a_candidate_is_that_of_its_features(finished):
    attack = {"name": "pgd", "steps": 3, "step": 0.05}
    (setup,) = asked(finished.folder.root, attacks=[attack], images=100)
    found = align(setup)
    (model,) = trained(finished.folder.root)
    images = model.dataset.load().val.first(100)
    attack = Pgd(eps=0.1, step=0.05, steps=3)
    z, z_adv = (
        torch.nn.functional.normalize(part).numpy()
        for part in features(model.net, images, model.tasks, attack, seed=model.seed)
    )
    y, pairs = images.y.numpy(), z @ z_adv.T
    assert found.means.own == pytest.approx(pairs.diagonal().mean(), abs=1e-5)
    assert found.means.between_classes == pytest.approx(pairs[y[:, None] != y].mean(), abs=1e-5)
    counts = np.bincount(found.labels)
    assert set(counts) == {4, 5}  # 48 images of 10 classes
    rows = np.concatenate([np.flatnonzero(y == label)[:count] for label, count in enumerate(counts)])
    assert found.labels.tolist() == y[rows].tolist()
    np.testing.assert_allclose(found.samples, pairs[rows][:, rows], atol=1e-5)
    assert found.conditions["eps"] == 0.1


def test_robustness_writes_plots_and_table_beside_each_other(cli, finished, two, tmp_path):
    arguments = [word for name in two for word in ("--pick", name[:8])]
    root = finished.folder.root
    code, out, _ = cli(
        "analyze", "robustness", root, *arguments, "--images", 40, "--radii", "0,0.1", "--steps", "2,1",
        "--split", "test", "--attack", "{name: pgd, steps: 2, step: 0.05}", "--out", tmp_path / "plots",
    )  # fmt: skip
    assert code == 0
    written = pd.read_csv(tmp_path / "plots" / "robustness.csv")
    attack = {"name": "pgd", "steps": 2, "step": 0.05}
    given = asked(root, rules=two, attacks=[attack], split="test", images=40)
    expected = robustness(given, radii=[0, 0.1], steps=[1, 2])
    assert torch.equal(given[0].images.x, given[0].model.dataset.load().test.x[:40])
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    assert f"{written['accuracy'][0]:.4f}" in out
    assert all((tmp_path / "plots" / f"robustness.{suffix}").is_file() for suffix in ("png", "pdf"))


def test_gallery_and_alignment_of_an_export_lie_in_its_folder(cli, exported, tmp_path):
    """Without the campaign, and of the user's own images."""
    test = Digits().load().test.first(60)
    np.savez(tmp_path / "own.npz", x=(test.x * 255).round().byte().squeeze(1).numpy(), y=test.y.numpy())
    code, _, _ = cli("analyze", "gallery", exported, "--images", 3, "--attack", "fgsm", "--eps", "0.2")
    assert code == 0
    code, out, _ = cli("analyze", "alignment", exported, "--data", tmp_path / "own.npz", "--attack", "pgd2")
    assert code == 0
    (shown,) = (exported / "plots").glob("gallery-*.csv")
    images = pd.read_csv(shown)
    assert len(images) == 3
    assert (images["label"] == images["prediction"]).all()
    assert (images["fooled"] == (images["label"] != images["adversarial_prediction"])).all()
    assert set(images["eps"]) == {0.2}
    (row,) = pd.read_csv(exported / "plots" / "alignment.csv").to_dict("records")
    assert f"{row['own']:.4f}" in out
    assert (row["images_of"], row["images"]) == ("own.npz", 60)
    assert len(pd.read_csv(exported / "plots" / "alignment_by_class.csv")) == 100


def test_a_gallery_is_the_same_every_time(finished):
    (setup,) = asked(finished.folder.root)
    first, second = (show(setup, count=4) for _ in range(2))
    assert torch.equal(first.images.x_adv, second.images.x_adv)
    assert first.images.fooled.tolist() == sorted(first.images.fooled.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["robustness", "--radii", "x"], "--radii"),
        (["robustness", "--steps", "0"], "--steps"),
        (["robustness", "--attack", "pdg"], "pgd"),
        (["gallery", "--attack", "none"], "none"),
        (["gallery", "--attack", "fgsm,pgd2"], "--attack: got fgsm, pgd2, expected one."),
        (["alignment", "--pick", "best:speed"], "speed"),
    ],
)
def test_wrong_options_are_refused(cli, finished, arguments, says, tmp_path):
    command, *options = arguments
    code, _, err = cli("analyze", command, finished.folder.root, *options, "--out", tmp_path / "plots")
    assert code == 2
    assert says in err
    assert not (tmp_path / "plots").exists()
