"""`moosearch detect`: the table, its files, images of the user's own, and what it refuses."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from moosearch.analysis import detection
from moosearch.analysis.subject import trained
from moosearch.data.digits import Digits
from moosearch.errors import DataUnavailableError
from moosearch.judging import correct_clean
from moosearch.judging.detection import Scored, score_images, threshold_of
from moosearch.judging.evasion import Evasion
from moosearch.judgment import wilson
from moosearch.models.defenses.squeezing import BitDepthLayer, MedianFilterLayer

QUICK = ("--attacks", "fgsm,pgd3", "--images", 40)


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory, skip_programs):
    """An export of the knee; its programs, which are not read here, are empty."""
    with pytest.MonkeyPatch.context() as patch:
        skip_programs(patch)
        return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the export that may be damaged and written to."""
    return shutil.copytree(exported, tmp_path / "model")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """An adaptive attack of few steps."""
    monkeypatch.setattr(detection, "Evasion", lambda *given: Evasion(*given, steps=3))


def read(text):
    return pd.read_csv(io.StringIO(text))


def test_numbers_files_and_pictures(cli, folder, tmp_path):
    """The threshold is of validation images, the rest of test images; the JSON has every score."""
    code, out, err = cli("detect", folder, *QUICK, "--csv", "--fpr", 0.2, "--out", tmp_path / "plots")
    assert code == 0
    rows = read(out).set_index("attack")
    assert list(rows.index) == ["clean", "fgsm", "pgd3", "adaptive", "worst_case"]
    (model,) = trained(folder)
    squeezers, data = (BitDepthLayer(1), MedianFilterLayer(2)), Digits().load()
    known = score_images(model.net, squeezers, data.val)
    threshold = threshold_of(known.score[known.right], 0.2)
    clean = score_images(model.net, squeezers, data.test.first(40))
    legitimate = int(correct_clean(model.net, data.test.first(40)).sum())
    rejected = int((clean.score > threshold)[clean.right].sum())
    first = rows.iloc[0]
    assert first["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert first["threshold_images"] == int(known.right.sum())
    assert (first["legitimate"], first["false_positives"]) == (legitimate, rejected)
    low, high = wilson(rejected, legitimate)
    assert (first["false_positive_low"], first["false_positive_high"]) == pytest.approx((low, high))
    assert first["squeezers"] == "bit_depth(bits=1), median_filter(size=2)"
    assert (first["split"], first["norm"], first["eps"], first["seed"]) == ("test", "linf", 0.1, 3)
    assert (first["correct"], first["defended_correct"]) == (legitimate, legitimate - rejected)
    written = list((folder / "evaluations").glob("detection-test-linf-0.1-*.json"))
    assert len(written) == 1
    told = json.loads(written[0].read_text())
    assert told["finished"]
    assert told["attacks"]["adaptive"]["attack"]["steps"] == 3
    pd.testing.assert_frame_equal(read(written[0].with_suffix(".csv").read_text()), read(out))
    scored = {
        name: Scored(np.array(each["right"]), np.array(each["score"]))
        for name, each in told["scores"].items()
    }
    for name in ("fgsm", "pgd3", "adaptive"):
        was, now = scored["clean"], scored[name]
        fooled = was.right & ~now.right
        detected = fooled & (now.score > told["threshold"])
        assert (rows.loc[name, "fooled"], rows.loc[name, "detected"]) == (fooled.sum(), detected.sum())
        kept = was.right & (now.right | (now.score > told["threshold"]))
        assert rows.loc[name, "defended_correct"] == kept.sum()
        assert rows.loc[name, "defended_accuracy"] == kept.sum() / 40
    assert rows.loc["worst_case", "correct"] <= rows["correct"].min()
    assert {path.suffix for path in (tmp_path / "plots").glob(f"detection-{model.name}.*")} == {
        ".png",
        ".pdf",
    }
    assert "written to" in err


def test_the_same_command_gives_the_same_numbers(cli, folder):
    first, second = (read(cli("detect", folder, *QUICK, "--csv")[1]) for _ in range(2))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))
    other = json.loads(cli("detect", folder, *QUICK, "--json", "--seed", 8)[1])
    assert [row["attack"] for row in other] == first["attack"].tolist()
    assert {row["seed"] for row in other} == {8}
    assert len(list((folder / "evaluations").glob("*.json"))) == 2


def test_table_says_what_to_believe(cli, folder):
    code, out, _ = cli("detect", folder, *QUICK, "--squeezers", "{name: bit_depth, bits: 2}")
    assert code == 0
    for word in ("40 test images, linf eps 0.1", "fgsm", "adaptive", "worst case", "bit_depth(bits=2);"):
        assert word in out
    assert "believe the worst case with detector, and adaptive: " in out
    assert "clean images rejected: " in out
    assert "median_filter" not in out


def test_a_campaign_is_judged_like_its_export(cli, folder, finished, tmp_path):
    campaign = shutil.copytree(finished.folder.root, tmp_path / "campaign")
    ours, theirs = (read(cli("detect", each, *QUICK, "--csv")[1]) for each in (campaign, folder))
    pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))
    assert len(list((campaign / "evaluations").glob("*/detection-*.json"))) == 1


def test_own_images_set_the_threshold_by_every_second_one(cli, folder, tmp_path):
    test = Digits().load().test
    np.savez(tmp_path / "own.npz", x=test.x.squeeze(1).numpy()[:101], y=test.y.numpy()[:101])
    code, out, _ = cli("detect", folder, "--attacks", "fgsm", "--data", tmp_path / "own.npz", "--csv")
    assert code == 0
    first = read(out).iloc[0]
    (model,) = trained(folder)
    right = correct_clean(model.net, test.first(101))
    assert first["threshold_images"] == int(right[::2].sum())
    assert (first["images"], first["legitimate"]) == (50, int(right[1::2].sum()))
    assert first["split"] == "own"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--fpr", 0], ["fpr: got 0, expected more than 0 and less than 1"]),
        (["--fpr", 1.5], ["fpr: got 1.5"]),
        (["--squeezers", "bit_deph"], ["squeezers", "'bit_deph'", "Did you mean 'bit_depth'?"]),
        (["--squeezers", "{name: bit_depth, bits: 9}"], ["squeezers.0.bits: got 9", "8"]),
        (["--squeezers", "{name: bit_depth, bit: 2}"], ["no parameter 'bit'", "Did you mean 'bits'?"]),
        (["--squeezers", ""], ["squeezers: none is named", "median_filter"]),
        (["--squeezers", "none"], ["squeezers: none changes no image"]),
        (["--squeezers", "noise"], ["squeezers: noise draws random numbers"]),
        (["--squeezers", "perturbation_filter"], ["perturbation_filter is trained"]),
        (["--squeezers", "{name: "], ["squeezers: {name: "]),
        (["--attacks", "pdg20"], ["no attack is called 'pdg20'", "Did you mean"]),
        (["--eps", "2"], ["eps: got 2"]),
        (["--norm", "l1"], ["norm: got 'l1'"]),
        (["--images", 100000], ["images: got 100000, expected at most"]),
        (["--pick", "best:flops"], ["fits nothing"]),
        (["--data", "nowhere.npz"], ["nowhere.npz"]),
        (["--csv", "--json"], ["cannot both be printed"]),
    ],
)
def test_bad_input_is_one_line_before_any_work(cli, folder, monkeypatch, given, words):
    monkeypatch.setattr(detection, "score_images", lambda *_args, **_given: pytest.fail("work began"))
    code, out, err = cli("detect", folder, *given)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert not (folder / "evaluations").exists()


def test_without_images_it_says_what_to_do(cli, folder, monkeypatch):
    def gone(_self):
        raise DataUnavailableError("digits: the files are gone.")

    monkeypatch.setattr(Digits, "prepare", gone)
    code, _, err = cli("detect", folder)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "the files are gone. Or judge on images of your own: --data FILE.npz." in err


def test_a_network_that_is_never_right_has_no_threshold(cli, folder, monkeypatch):
    def never(*given, **options):
        scored = score_images(*given, **options)
        return Scored(scored.right & False, scored.score)

    monkeypatch.setattr(detection, "score_images", never)
    code, _, err = cli("detect", folder, *QUICK)
    assert code == 1
    assert "none of" in err
    assert "no threshold" in err


def test_usual_squeezers_are_the_papers():
    assert [tree.get("bits") for tree in detection.usual_squeezers(1)] == [1, None]
    assert [tree.get("bits") for tree in detection.usual_squeezers(3)] == [5, None]


def test_without_fooled_images_there_is_a_picture_and_a_table(cli, folder, tmp_path, monkeypatch):
    """Rates of nothing are left out."""

    def harmless(attack, net, squeezers, images, tasks, clean, **_options):
        return clean

    monkeypatch.setattr(detection, "score_under", harmless)
    code, out, _ = cli("detect", folder, *QUICK, "--out", tmp_path / "plots")
    assert code == 0
    assert len(list((tmp_path / "plots").glob("*.png"))) == 1
    assert "nan" not in out.lower()
