"""`moosearch evaluate`: the table, its files, images of the user's own, and what it refuses."""

import dataclasses
import io
import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import moosearch
from moosearch.analysis import accuracy as evaluation
from moosearch.analysis.setup import images_of, threat_of
from moosearch.analysis.subject import trained
from moosearch.attacks import Threat
from moosearch.attacks.autoattack import AttackWarning
from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.attacks.suite import named_attacks
from moosearch.data.digits import Digits
from moosearch.errors import DataUnavailableError, SpecError
from moosearch.judging import judge
from moosearch.judgment import wilson

QUICK = ("--attacks", "fgsm,pgd3", "--images", 60)
TIMES = ["seconds", "images_per_second"]


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory, skip_programs):
    """An export of the knee; its programs, which are not read here, are empty."""
    with pytest.MonkeyPatch.context() as patch:
        skip_programs(patch)
        return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="module")
def campaign(finished, tmp_path_factory):
    """A copy of the campaign, in which evaluations may be written."""
    return shutil.copytree(finished.folder.root, tmp_path_factory.mktemp("copy") / "campaign")


@pytest.fixture
def own(tmp_path):
    """The test images of digits, as a user would bring them."""
    test = Digits().load().test
    np.savez(tmp_path / "own.npz", x=test.x.squeeze(1).numpy(), y=test.y.numpy())
    return tmp_path / "own.npz"


def read(text):
    return pd.read_csv(io.StringIO(text))


def test_rows_are_what_judging_finds(cli, campaign):
    code, out, _ = cli("evaluate", campaign, "--attacks", "fgsm,pgd3,deepfool", "--csv")
    assert code == 0
    frame = read(out)
    (model,) = trained(campaign)
    attacks = named_attacks(["fgsm", "pgd3", "deepfool"], Threat("linf", 0.1))
    found = judge(model.net, Digits().load().val, model.tasks, attacks, seed=3)
    rows = {row["attack"]: row for row in frame.to_dict("records")}
    assert list(rows) == ["clean", "fgsm", "pgd3", "deepfool", "worst_case", "average_robust"]
    marks = {"clean": found.clean, "worst_case": found.worst_case}
    marks |= {name: each.robust for name, each in found.attacked.items()}
    for name, mark in marks.items():
        right, images = int(mark.sum()), len(mark)
        assert (rows[name]["correct"], rows[name]["images"]) == (right, images)
        assert rows[name]["accuracy"] == pytest.approx(right / images, abs=1e-12)
        assert (rows[name]["low"], rows[name]["high"]) == pytest.approx(wilson(right, images), abs=1e-12)
    for name, each in found.attacked.items():
        assert rows[name]["mean_distance"] == pytest.approx(float(each.distance.nanmean()), rel=1e-6)
    assert rows["average_robust"]["accuracy"] == pytest.approx(found.average_robust)
    assert rows["deepfool"]["mean_distance"] != pytest.approx(0.1, abs=1e-3)
    assert set(frame["candidate"]) == {model.name}
    assert set(frame["split"]) == {"val"}


def test_the_same_command_gives_the_same_numbers_and_writes_them(cli, campaign):
    first, second = (read(cli("evaluate", campaign, *QUICK, "--csv")[1]) for _ in range(2))
    pd.testing.assert_frame_equal(first.drop(columns=TIMES), second.drop(columns=TIMES))
    code, out, _ = cli("evaluate", campaign, *QUICK, "--json")
    assert code == 0
    third = pd.DataFrame(json.loads(out))
    assert third["accuracy"].tolist() == pytest.approx(first["accuracy"].tolist(), abs=1e-14)
    folder = campaign / "evaluations" / first["candidate"].iloc[0]
    known = [path for path in folder.glob("*.json") if json.loads(path.read_text())["images"] == 60]
    assert len(known) == 1
    told = json.loads(known[0].read_text())
    assert told["finished"]
    assert (told["split"], told["norm"], told["eps"], told["seed"]) == ("val", "linf", 0.1, 3)
    assert told["worst_case"]["accuracy"] == first.set_index("attack")["accuracy"]["worst_case"]
    assert told["attacks"]["pgd3"]["attack"]["steps"] == 3
    written = pd.read_csv(known[0].with_suffix(".csv"))
    pd.testing.assert_frame_equal(written.drop(columns=TIMES), first.drop(columns=TIMES))


def test_other_conditions_go_to_other_files(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "e", ignore=shutil.ignore_patterns("evaluations"))
    for change in ({}, {}, {"split": "test"}, {"eps": "1/255"}, {"seed": 4}, {"images": 31}, {"batch": 7}):
        moosearch.evaluate(folder, **({"attacks": ["fgsm"], "images": 30} | change))
    assert len(list(folder.glob("evaluations/*.json"))) == 6


def test_threat_and_seed_reach_the_attacks(campaign, monkeypatch):
    seen = []
    real = evaluation.judgments

    def judgments(*args, seed, **kwargs):
        seen.append((args[3], seed))
        return real(*args, seed=seed, **kwargs)

    monkeypatch.setattr(evaluation, "judgments", judgments)
    frame = moosearch.evaluate(campaign, attacks=["fgsm"], eps="2/5", norm="l2", seed=9, images=20)
    assert seen == [({"fgsm": Fgsm(eps=0.4, norm="l2")}, 9)]
    assert set(frame["norm"]) == {"l2"}
    assert set(frame["eps"]) == {0.4}
    moosearch.evaluate(campaign, attacks="fgsm, {name: pgd, steps: 2, eps: 0.3}", images=20)
    assert [attack.eps for attack in seen[-1][0].values()] == [0.1, 0.3]


def test_table_of_one_and_of_several_candidates(cli, campaign):
    code, out, err = cli("evaluate", campaign, *QUICK)
    assert code == 0
    for word in ("60 val images, linf eps 0.1", "clean", "pgd3", "worst case", "Avg-Robust", "--split test"):
        assert word in out
    assert "written to" in err
    code, out, _ = cli("evaluate", campaign, *QUICK, "--pick", "front", "--pick", "best:flops")
    assert code == 0
    frame = moosearch.evaluate(campaign, attacks=["fgsm", "pgd3"], images=60, rules=["front"])
    lines = [line.split() for line in out.splitlines()]
    for candidate, rows in frame.groupby("candidate"):
        expected = [f"{value:.4f}" for value in rows["accuracy"]]
        assert lines.count([candidate, *expected]) == 1
    assert frame["candidate"].nunique() == len(trained(campaign, ("front",)))


def test_an_export_is_judged_like_its_candidate(cli, exported, campaign):
    for split in ("val", "test"):
        theirs, ours = (
            read(cli("evaluate", folder, *QUICK, "--split", split, "--csv")[1])
            for folder in (campaign, exported)
        )
        pd.testing.assert_frame_equal(ours.drop(columns=TIMES), theirs.drop(columns=TIMES))
    assert {path.suffix for path in (exported / "evaluations").iterdir()} == {".json", ".csv"}


def test_own_images_need_neither_campaign_nor_data_set(cli, exported, own, monkeypatch):
    theirs = read(cli("evaluate", exported, *QUICK, "--split", "test", "--csv")[1])
    monkeypatch.setattr(Digits, "read", None)
    code, out, _ = cli("evaluate", exported, *QUICK, "--data", own, "--csv")
    assert code == 0
    ours = read(out)
    same = ["candidate", "images", "attack", "correct", "accuracy", "mean_distance"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    assert set(ours["split"]) == {"own"}
    code, out, _ = cli("evaluate", exported, *QUICK, "--data", own)
    assert "images of" in out
    assert "selected" not in out


def test_images_of_a_split(campaign):
    (model,) = trained(campaign)
    splits = Digits().load()
    assert torch.equal(images_of(model, "val").x.cpu(), splits.val.x)
    some = images_of(model, "test", most=7)
    assert torch.equal(some.y.cpu(), splits.test.y[:7])
    assert next(model.net.parameters()).device == some.x.device
    assert len(images_of(model, "test", most=10**6)) == len(splits.test)


def test_missing_data_set_names_the_way_out(cli, exported, monkeypatch):
    def gone(self, *, download):
        raise DataUnavailableError("digits: no images.")

    monkeypatch.setattr(Digits, "read", gone)
    code, _, err = cli("evaluate", exported, *QUICK)
    assert code == 2
    assert "digits: no images. Or judge on images of your own: --data" in err


def test_transfer_takes_a_surrogate(cli, campaign, exported):
    transfer = ("--attacks", "transfer", "--images", 60)
    code, out, _ = cli("evaluate", campaign, *transfer, "--surrogate", exported, "--csv")
    assert code == 0
    assert "transfer" in set(read(out)["attack"])
    code, _, err = cli("evaluate", campaign, *transfer)
    assert code == 2
    assert "surrogate" in err


def test_interruption_keeps_what_was_finished(cli, campaign, tmp_path, monkeypatch):
    folder = shutil.copytree(campaign, tmp_path / "c", ignore=shutil.ignore_patterns("evaluations"))

    real = Pgd.seek

    def interrupted(self, *args, **kwargs):
        if self.steps > 1:  # a single step is that of fgsm
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Pgd, "seek", interrupted)
    code, out, err = cli("evaluate", folder, *QUICK, "--csv")
    assert code == 130
    assert out == ""
    assert "interrupted" in err
    (path,) = folder.glob("evaluations/*/*.json")
    told = json.loads(path.read_text())
    assert not told["finished"]
    assert list(told["attacks"]) == ["fgsm"]
    assert pd.read_csv(path.with_suffix(".csv"))["attack"].tolist()[:2] == ["clean", "fgsm"]


def test_doubts_of_an_attack_are_told(cli, campaign, monkeypatch):
    real = Fgsm.seek

    def unreliable(self, *args, **kwargs):
        warnings.warn("something is odd.", AttackWarning, stacklevel=1)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Fgsm, "seek", unreliable)
    arguments = ("evaluate", campaign, *QUICK, "--batch", 20)
    code, out, _ = cli(*arguments)
    assert code == 0
    assert f"! {trained(campaign)[0].name}, fgsm: something is odd.\n" in out
    frame = read(cli(*arguments, "--csv")[1]).set_index("attack")
    assert frame["doubt"].fillna("").to_dict() == dict.fromkeys(frame.index, "") | {
        "fgsm": "something is odd."
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--attacks", "pgd20,autoatack"], ["Did you mean 'autoattack'?"]),
        (["--attacks", ""], ["attacks"]),
        (["--attacks", "mta"], ["attacks", "mta"]),
        (["--eps", "0"], ["eps: got 0", "more than 0 and at most 1"]),
        (["--eps", "8"], ["eps: got 8", "at most 1"]),
        (["--eps", "-1/255"], ["eps: got -1/255"]),
        (["--eps", "nan"], ["eps"]),
        (["--eps", "8/0"], ["eps", "8/255"]),
        (["--norm", "l2"], ["eps: got none", "linf", "8/255"]),
        (["--norm", "l3", "--eps", "1"], ["norm: got 'l3'"]),
        (["--norm", "l2", "--eps", "9"], ["eps: got 9", "at most 8 (l2"]),
        (["--split", "train"], ["split: got 'train'", "val or test"]),
        (["--images", "100000"], ["images: got 100000, expected at most 360"]),
        (["--pick", "best:flops"], ["'best:flops' fits nothing"]),
        (["--data", "nowhere.npz"], ["nowhere.npz: there is no such file"]),
        (["--data", "nowhere.npz", "--split", "val"], ["expected one of the two"]),
        (["--surrogate", "nowhere", "--attacks", "transfer"], ["nowhere"]),
        (["--csv", "--json"], ["cannot both be printed"]),
    ],
)
def test_wrong_input_is_one_line_before_any_attack(cli, exported, monkeypatch, arguments, words):
    monkeypatch.setattr(evaluation, "judgments", None)
    code, out, err = cli("evaluate", exported, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_own_images_that_do_not_fit_are_refused(cli, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "judgments", None)
    np.savez(tmp_path / "large.npz", x=np.zeros((3, 9, 9), np.uint8), y=np.zeros(3, int))
    np.savez(tmp_path / "labels.npz", x=np.zeros((3, 8, 8), np.uint8), y=np.full(3, 10))
    for name, words in (("large", "images of 1 x 9 x 9"), ("labels", "expected 0 to 9")):
        code, _, err = cli("evaluate", exported, "--data", tmp_path / f"{name}.npz")
        assert code == 2
        assert words in err
        assert err.count("\n") == 1


def test_ball_is_the_campaigns_first_with_a_radius_or_the_one_given(exported):
    (model,) = trained(exported)

    def ball(threats, *given):
        return threat_of(dataclasses.replace(model, threats=threats), *given)

    none, near, round_ = Threat("linf", 0.0), Threat("linf", 0.1), Threat("l2", 0.5)
    assert ball((none, round_, near)) == round_
    assert ball((near, round_), "8/255") == Threat("linf", 8 / 255)
    assert ball((round_, near), 2.5) == Threat("l2", 2.5)
    assert ball((near,), 2, "l2") == Threat("l2", 2.0)
    assert ball((none,), 0.2) == Threat("linf", 0.2)
    assert ball((near,), None, "linf") == near
    for threats in ((), (none,)):
        with pytest.raises(SpecError, match="asks no robustness"):
            ball(threats)


def test_a_folder_that_cannot_be_written_is_refused(cli, exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "c", ignore=shutil.ignore_patterns("evaluations"))
    (folder / "evaluations").write_text("in the way")
    monkeypatch.setattr(evaluation, "judgments", None)
    code, _, err = cli("evaluate", folder, *QUICK)
    assert code == 2
    assert "cannot write here" in err
