"""What is known of the noise of a search: repeated trainings, and intervals where there is one."""

import dataclasses
import math
import shutil
import statistics

import pandas as pd
import pytest

import moosearch
from moosearch.cli.progress import TrainingProgress
from moosearch.cli.tables import front_table
from moosearch.data.digits import Digits
from moosearch.errors import CampaignError, ExportError, Place
from moosearch.evaluation import Candidate, Evaluation
from moosearch.plan.plan import make_plan
from moosearch.report.plots import front as plots
from moosearch.space.files import Document

OVERRIDES = ["campaign.name=tiny", "campaign.keep=all", "campaign.budget.generations=1"]


@pytest.fixture(scope="module")
def repeated(tiny, tmp_path_factory):
    """The first generation of the finished campaign, every candidate trained three times."""
    folder = tmp_path_factory.mktemp("repeated") / "c"
    return moosearch.search(tiny(), out=folder, overrides=[*OVERRIDES, "campaign.repeats=3"])


def test_objectives_are_means_over_fresh_trainings(repeated):
    for evaluation in repeated.evaluations:
        assert len(evaluation.replicates) == 3
        for key, value in evaluation.objectives.items():
            values = [replicate[key] for replicate in evaluation.replicates]
            assert value == pytest.approx(sum(values) / 3)
            spread = math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2)
            assert evaluation.deviations[key] == pytest.approx(spread)
        assert evaluation.deviations["flops"] == 0
    assert any(e.deviations["clean_accuracy"] > 0 for e in repeated.evaluations)


def test_the_first_replicate_is_the_candidate_of_a_search_without_repeats(repeated, finished):
    alone = {e.candidate.id: e for e in finished.evaluations if e.generation == 1}
    assert {e.candidate.id for e in repeated.evaluations} == alone.keys()
    for evaluation in repeated.evaluations:
        identity = evaluation.candidate.id
        assert (
            evaluation.kept == evaluation.replicates[0] == alone[identity].objectives == alone[identity].kept
        )
        assert evaluation.provenance["seed"] == alone[identity].provenance["seed"]
        weights = finished.folder.weights(identity).read_bytes()
        assert repeated.folder.weights(identity).read_bytes() == weights


def test_tables_have_deviations_where_there_are_repeats(repeated, finished):
    for name in ("front.csv", "candidates.csv"):
        table = pd.read_csv(repeated.folder.root / name)
        row = table.iloc[0]
        evaluation = repeated.evaluation(row["id"])
        assert row["clean_accuracy_std"] == pytest.approx(evaluation.deviations["clean_accuracy"])
        without = pd.read_csv(finished.folder.root / name)
        assert not [column for column in without if column.endswith("_std")]
    evaluation = repeated.front.members[0]
    deviation = f"±{evaluation.deviations['clean_accuracy']:.2g}"
    assert any(deviation in cell for cell in front_table(repeated).columns[1].cells)


def test_plots_have_bars_where_there_are_repeats(repeated, finished):
    for campaign, bars in ((repeated, True), (finished, False)):
        figure = plots.pairs(campaign.evaluations, campaign.header.objectives)
        assert bool(figure.axes[0].containers) == bars


@pytest.mark.usefixtures("without_programs")
def test_an_export_reproduces_the_replicate_whose_weights_are_kept(repeated, tmp_path):
    evaluation = max(
        repeated.front, key=lambda e: abs(e.objectives["clean_accuracy"] - e.kept["clean_accuracy"])
    )
    assert abs(evaluation.objectives["clean_accuracy"] - evaluation.kept["clean_accuracy"]) > 0.01
    root = shutil.copytree(repeated.folder.root, tmp_path / "c")
    campaign = moosearch.Campaign(root)
    assert campaign.export(evaluation.candidate.id).is_dir()
    other = next(
        e
        for e in repeated.evaluations
        if abs(e.kept["clean_accuracy"] - evaluation.kept["clean_accuracy"]) > 0.02
    )
    shutil.copy(campaign.folder.weights(other.candidate.id), campaign.folder.weights(evaluation.candidate.id))
    with pytest.raises(ExportError):
        campaign.export(evaluation.candidate.id)


def test_repeats_make_another_campaign_but_no_other_candidates(repeated, tiny):
    with pytest.raises(CampaignError, match=r"campaign\.repeats is 3 there and 2 here"):
        moosearch.search(tiny(), out=repeated.folder.root, overrides=[*OVERRIDES, "campaign.repeats=2"])


def test_how_a_front_is_confirmed_is_no_part_of_a_campaign(tiny):
    plans = []
    for confirmation in ({}, {"confirmation": {"at_end": True, "seeds": 9, "attacks": ["fgsm"]}}):
        data = tiny()
        data["campaign"] |= {"name": "t", **confirmation}
        plans.append(make_plan(Document(data, Place())))
    assert plans[0].identity() == plans[1].identity()
    assert plans[0].to_tree() != plans[1].to_tree()


def test_one_training_has_intervals_of_its_accuracies(finished, repeated):
    images = len(Digits().load().val)
    z = statistics.NormalDist().inv_cdf(0.975)
    for evaluation in finished.evaluations:
        assert evaluation.intervals.keys() == {"clean_accuracy", "robust_accuracy"}
        assert evaluation.deviations == {}
        for key, (low, high) in evaluation.intervals.items():
            p = evaluation.objectives[key]  # Wilson 1927
            center = (p + z * z / (2 * images)) / (1 + z * z / images)
            half = z / (1 + z * z / images) * math.sqrt(p * (1 - p) / images + z * z / (4 * images**2))
            assert (low, high) == pytest.approx((center - half, center + half))
    assert all(e.intervals == {} for e in repeated.evaluations)
    low, high = finished.front.members[0].intervals["clean_accuracy"]
    assert any(f"{low:.3f}-{high:.3f}" in cell for cell in front_table(finished).columns[1].cells)


def test_an_interval_is_for_the_images_an_objective_is_measured_on(tiny, tmp_path):
    objective = "campaign.objectives=[{name: robust_accuracy, attacks: [fgsm], images: 40}, flops]"
    overrides = [*OVERRIDES, objective, "campaign.budget.population=2"]
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    for evaluation in campaign.evaluations:
        low, high = evaluation.intervals["robust_accuracy"]
        assert high - low > 1.9 * math.sqrt(0.05 * 0.95 / 40)


def test_evaluations_of_an_older_version_have_no_replicates():
    evaluation = Evaluation(Candidate("0", {}, {}), "complete", {"a": 0.5})
    assert evaluation.kept == {"a": 0.5}
    assert dataclasses.replace(evaluation, replicates=({"a": 0.4}, {"a": 0.6})).kept == {"a": 0.4}


def test_epochs_of_every_training_are_told(tiny_file, tmp_path, capsys):
    from rich.console import Console

    moosearch.train(
        tiny_file,
        assignments=["campaign.repeats=2", "training.epochs=2"],
        out=tmp_path / "c",
        observer=TrainingProgress(Console(width=200)),
    )
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == [f"training {n}/2, epoch {e}/2" for n in (1, 2) for e in (1, 2)]
