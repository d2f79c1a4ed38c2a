"""Confirmation: fresh trainings on test images, in any number of runs; `test_cli` tests the whole."""

import json
import math
import shutil
from typing import Annotated

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import moosearch
from moosearch.api.verbs import confirm
from moosearch.attacks import ATTACKS, Attack
from moosearch.campaign.observer import Confirmed
from moosearch.cli.tables import attack_table, front_table
from moosearch.data import Splits
from moosearch.data.digits import Digits
from moosearch.errors import CampaignError
from moosearch.evaluators import work
from moosearch.judging import correct_under, fraction
from moosearch.registry import build
from moosearch.report.plots import front as plots
from moosearch.text import counted
from moosearch.training import CandidateSpec

RULES = ["knee", "best:clean_accuracy"]
OPTIONS = ["--attacks", "fgsm,pgd5", "--seeds", "2", "--images", "40"]
OPTIONS += [word for rule in RULES for word in ("--pick", rule)]
OVERRIDES = [
    "campaign.confirmation={attacks: [fgsm, {name: pgd, steps: 5, eps: 0.5}], seeds: 2, images: 40}",
]
SMALL = "campaign.budget={population: 2, generations: 1}"


class StopError(Exception):
    """Stands for a death of the process."""


class StopAfter:
    def __init__(self, count, error=StopError):
        self.left, self.error = count, error

    def __call__(self, event):
        if isinstance(event, Confirmed):
            self.left -= 1
            if self.left == 0:
                raise self.error


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished campaign that may be confirmed."""
    return shutil.copytree(finished.folder.root, tmp_path / "c")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Draw nothing and look for no masked gradients: these take longest."""
    monkeypatch.setattr("moosearch.report.plots.front.save", lambda *_: [])
    monkeypatch.setattr("moosearch.judging.masking.checks", lambda *_, **__: {})


@pytest.fixture(scope="module")
def confirmed(finished, tmp_path_factory):
    """Two members confirmed by two seeds; tests must not change its folder."""
    root = shutil.copytree(finished.folder.root, tmp_path_factory.mktemp("confirmed") / "c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moosearch.judging.masking.checks", lambda *_, **__: {})
        return confirm(root, rules=RULES, overrides=OVERRIDES)


def records(root):
    """Every training of a confirmation, by member and number."""
    paths = sorted((root / "confirmed").glob("*/*.json"))
    return {(path.parent.name, int(path.stem)): json.loads(path.read_text()) for path in paths}


def lasting(root):
    """What must not depend on where, when and how often."""
    return {
        key: (record["objectives"], record["judgment"]["as_searched"], record["provenance"]["seed"])
        for key, record in records(root).items()
    }


def test_confirmed_values_come_from_the_stored_weights_and_test_images(confirmed):
    test, lower = Digits().load().test.first(40), []
    for (identity, number), record in records(confirmed.folder.root).items():
        spec = build(CandidateSpec, confirmed.evaluation(identity).candidate.spec)
        net = spec.build_network(seed=0)
        path = confirmed.folder.retraining(identity, number).with_suffix(".safetensors")
        net.load_state_dict(load_file(path))
        with torch.no_grad():
            clean = (net.eval()(test.x).argmax(dim=1) == test.y).float().mean()
        assert record["objectives"]["clean_accuracy"] == pytest.approx(float(clean))
        (threat,) = record["judgment"]["threats"]
        assert (threat["norm"], threat["eps"]) == ("linf", 0.1)
        attacks = [build(Annotated[Attack, ATTACKS], each["attack"]) for each in threat["attacks"].values()]
        seed = work.derive_seed(confirmed.header.seed, "judge, test")
        worst = fraction(correct_under(net, test, spec.dataset.tasks, attacks, seed=seed))
        assert record["objectives"]["robust_accuracy"] == worst == threat["worst_case"]["accuracy"]
        assert record["objectives"].keys() == {"clean_accuracy", "robust_accuracy"}, "costs are as they were"
        lower.append(worst < record["judgment"]["as_searched"]["robust_accuracy"])
    assert any(lower), "the suite is no stronger than the search's attack: nothing is tested"


def test_seeds_are_fresh(confirmed):
    used = [record["provenance"]["seed"] for record in records(confirmed.folder.root).values()]
    assert len(set(used)) == len(used)
    assert not set(used) & {e.provenance["seed"] for e in confirmed.evaluations}
    weights = {path.read_bytes() for path in confirmed.folder.confirmed.glob("*/*.safetensors")}
    assert len(weights) == len(used)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3])
def test_going_on_after_a_kill_trains_nothing_twice(folder, confirmed, monkeypatch, after):
    jobs = []
    real = work._train_and_measure

    def counting(attempt, *arguments):
        jobs.append((attempt.job.candidate.id, attempt.job.number))
        return real(attempt, *arguments)

    monkeypatch.setattr(work, "_train_and_measure", counting)
    with pytest.raises(StopError):
        confirm(folder, rules=RULES, overrides=OVERRIDES, observer=StopAfter(after))
    assert len(records(folder)) == after
    assert len(pd.read_csv(folder / "confirmed.csv")) == 2, "what is there is shown"
    campaign = confirm(folder, rules=RULES)
    assert sorted(jobs) == sorted(records(folder))
    assert len(jobs) == len(set(jobs)) == 4
    assert lasting(folder) == lasting(confirmed.folder.root)
    assert campaign.confirmation.done == campaign.confirmation.planned == 4


def test_ctrl_c_keeps_what_is_done(cli, folder, monkeypatch):
    def interrupt(self, outcome):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("moosearch.cli.progress.TerminalProgress._confirm", interrupt)
        code, _, err = cli("confirm", folder, *OPTIONS)
    assert code == 130
    assert f"go on with `moosearch confirm {folder}`" in err
    code, out, _ = cli("status", folder)
    assert "confirmation: stopped; 1/4 trainings done" in out
    code, out, _ = cli("confirm", folder)
    assert code == 0
    assert "4 trainings, 1 of them known already" in out


@pytest.mark.slow
def test_other_settings_are_refused_and_more_seeds_are_added(cli, folder):
    options = ["--attacks", "fgsm", "--seeds", "1", "--images", "50", "--pick", "knee"]
    assert cli("confirm", folder, *options)[0] == 0
    first = records(folder)
    for change, words in (
        (["--images", "60"], "images is 50 there and 60 here"),
        (["--attacks", "pgd5"], "fgsm"),
    ):
        code, _, err = cli("confirm", folder, *options, *change)
        assert code == 2
        assert "begun with other settings" in err
        assert words in err
        assert "--anew" in err
        assert records(folder) == first
    assert cli("confirm", folder, "--seeds", "2", "--pick", "knee")[0] == 0
    assert first.items() < records(folder).items()
    assert cli("confirm", folder, "--seeds", "1", "--pick", "best:clean_accuracy")[0] == 0
    assert pd.read_csv(folder / "confirmed.csv")["trainings"].tolist() == [1, 2], (
        "the other one is still there"
    )
    code, _, _ = cli("confirm", folder, *options, "--images", "60", "--anew")
    assert code == 0
    (record,) = records(folder).values()
    assert record["judgment"]["images"] == 60


def test_what_is_wrong_is_said_before_anything_is_trained(cli, folder):
    for options, words in (
        (["--attacks", "fgsmm"], "Did you mean 'fgsm'?"),
        (["--attacks", ""], "one attack or more"),
        (["--attacks", "transfer"], "surrogate"),
        (["--pick", "best:flps"], "Did you mean 'flops'?"),
        (["--evaluator", "serial", "--workers", "2"], "serial has one worker"),
    ):
        code, out, err = cli("confirm", folder, *options)
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert words in err
    assert not (folder / "confirmed").exists()
    code, _, err = cli("confirm", folder / "nowhere")
    assert code == 2
    assert "no campaign here" in err


def test_a_second_process_is_refused(folder):
    with moosearch.Campaign(folder).folder.lock(), pytest.raises(CampaignError, match="is being run by"):
        confirm(folder, overrides=OVERRIDES)


def test_a_training_that_fails_is_counted_and_left_out(cli, folder, confirmed, monkeypatch):
    victim = confirmed.front.knee().candidate.id
    real = work._train_and_measure

    def diverging(attempt, *arguments):
        if (attempt.job.candidate.id, attempt.job.number) == (victim, 2):
            raise RuntimeError("diverged")
        return real(attempt, *arguments)

    monkeypatch.setattr(work, "_train_and_measure", diverging)
    code, out, _ = cli("confirm", folder, *OPTIONS)
    assert code == 3
    assert "failed: RuntimeError: diverged" in out
    assert "4 trainings, 1 failed" in out
    assert f"! {victim}: 1 of 2 trainings failed: RuntimeError: diverged" in out
    row = pd.read_csv(folder / "confirmed.csv").set_index("id").loc[victim]
    whole = pd.read_csv(confirmed.folder.confirmed_table).set_index("id").loc[victim]
    assert (row["trainings"], row["trainings_failed"]) == (1, 1)
    assert row["clean_accuracy_mean"] == whole["clean_accuracy_seed1"]
    assert math.isnan(row["clean_accuracy_std"])
    assert cli("confirm", folder, "--pick", "knee")[0] == 3, "it is not tried again, and still said"
    assert records(folder)[victim, 2]["status"] == "failed"


def test_a_member_whose_trainings_all_failed_is_shown_as_such(cli, folder, monkeypatch):
    def diverging(*arguments):
        raise RuntimeError("diverged")

    monkeypatch.setattr(work, "_train_and_measure", diverging)
    code, out, _ = cli("confirm", folder, *OPTIONS)
    assert code == 3
    assert out.count("2 of 2 trainings failed: RuntimeError: diverged") == 2
    assert cli("front", folder)[0] == 0


class Forbidden:
    def __getattr__(self, name):
        raise AssertionError("the test split was used")


@pytest.fixture
def no_test_images(monkeypatch):
    real = Digits.load
    monkeypatch.setattr(Digits, "load", lambda self: Splits(real(self).train, real(self).val, Forbidden()))
    work.load_once.cache_clear()
    yield
    work.load_once.cache_clear()


@pytest.mark.usefixtures("no_test_images")
def test_a_search_never_reads_test_images_and_a_confirmation_does(tiny, tmp_path):
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=[SMALL, "campaign.repeats=2"])
    assert all(e.status == "complete" for e in campaign.evaluations)
    found = confirm(tmp_path / "c", rules=["knee"], overrides=OVERRIDES).confirmation
    assert found.failed == found.done == 2
    assert "the test split was used" in found.members[0].failed[0].error


def test_a_search_can_end_with_it(cli, tiny_file, tmp_path):
    arguments = ["search", tiny_file, "--out", tmp_path / "c", "--set", SMALL]
    option = "campaign.confirmation={at_end: true, seeds: 1, attacks: [fgsm], images: 50}"
    code, out, _ = cli(*arguments, "--set", option)
    assert code == 0
    members = moosearch.Campaign(tmp_path / "c").front.members
    assert f"{counted(len(members), 'member')} confirmed by {counted(len(members), 'training')}" in out
    assert len(pd.read_csv(tmp_path / "c/confirmed.csv")) == len(members)
    code, out, _ = cli("resume", tmp_path / "c")
    assert code == 0
    assert len(records(tmp_path / "c")) == len(members)
    assert cli(*arguments)[0] == 0, "how a front is confirmed does not make it another campaign"


def test_train_does_not_end_with_it(tiny_file, tmp_path):
    option = "campaign.confirmation.at_end=true"
    campaign = moosearch.train(tiny_file, assignments=[option], out=tmp_path / "c")
    assert campaign.confirmation is None


def test_one_training_has_no_deviation(folder):
    overrides = [*OVERRIDES, "campaign.confirmation.seeds=1"]
    campaign = confirm(folder, rules=["knee"], overrides=overrides)
    (member,) = campaign.confirmation.members
    assert math.isnan(member.confirmed_value("clean_accuracy").std)
    assert member.to_tree()["values"]["clean_accuracy"]["std"] is None
    table = front_table(campaign)
    assert table.row_count == len(campaign.front)


def test_a_campaign_without_robust_accuracy_is_confirmed_unattacked(tiny, tmp_path):
    overrides = ["campaign.objectives=[clean_accuracy, flops]", SMALL]
    moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    campaign = confirm(tmp_path / "c", rules=["knee"], overrides=OVERRIDES)
    (member,) = campaign.confirmation.members
    assert {measure.column for measure in member.measured} == {"clean_accuracy", "clean_accuracy_as_searched"}
    assert len(plots.dumbbells(campaign.confirmation).axes) == 1
    assert attack_table(campaign.confirmation).row_count == 1
