"""What is read from the files of a confirmation, written here by hand: means, doubts, plots, card."""

import json
import math
import shutil
import statistics
from dataclasses import asdict

import numpy as np
import pytest

import moosearch
from moosearch.campaign.status import read_status
from moosearch.cli.status import _confirmation
from moosearch.cli.tables import doubts, front_table
from moosearch.export.card import _place, model_card
from moosearch.judgment import Measure, Share
from moosearch.report.data import confirmation
from moosearch.report.plots import front as plots

IMAGES = 1000
CLEAN, ROBUST = [0.9, 0.8, 0.85], [0.5, 0.6, 0.4]


def share(accuracy):
    return asdict(Share.of(round(IMAGES * accuracy), IMAGES))


def attacked(accuracy, eps):
    said = {"norm": "linf", "eps": eps, "mean_distance": None, "seconds": 1.0, "images_per_second": None}
    return share(accuracy) | {"attack": {"name": "fgsm", "eps": eps}, "doubt": ""} | said


def write(root, identity, number, *, clean, robust, masked=False, seen=None, eps=(0.1,)):
    threats = [
        {
            "norm": "linf",
            "eps": radius,
            "images": IMAGES,
            "clean": share(clean),
            "attacks": {"fgsm": attacked(robust + 0.1, radius)},
            "worst_case": share(robust),
            "average_robust": robust + 0.1,
            "checks": [
                {"name": "too_flat", "passed": not masked, "explanation": "Nothing moves.", "observed": {}}
            ],
        }
        for radius in eps
    ]
    objectives = {"clean_accuracy": clean, "robust_accuracy": robust}
    as_searched = objectives | {"robust_accuracy": robust if seen is None else seen}
    judgment = {"images": IMAGES, "clean": share(clean), "as_searched": as_searched, "threats": threats}
    record = {"number": number, "objectives": objectives, "judgment": judgment, "error": ""}
    path = root / "confirmed" / identity / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


@pytest.fixture
def campaign(finished, tmp_path):
    """A campaign whose front seems confirmed: its last member was masked once."""
    root = shutil.copytree(finished.folder.root, tmp_path / "c")
    ids = [e.candidate.id for e in finished.front]
    for place, identity in enumerate(ids):
        for number, (clean, robust) in enumerate(zip(CLEAN, ROBUST, strict=True), start=1):
            masked = identity == ids[-1] and number == 2
            write(root, identity, number, clean=clean, robust=robust - place / 100, masked=masked)
    (root / "confirmed/plan.json").write_text(
        json.dumps({"spec": {}, "settings": {}, "members": dict.fromkeys(ids, 3)})
    )
    return moosearch.Campaign(root)


def test_means_and_deviations_are_over_trainings(campaign):
    member = campaign.confirmation.member(campaign.front.members[1].candidate.id)
    spread = member.confirmed_value("robust_accuracy")
    assert spread.mean == pytest.approx(0.5 - 0.01)
    assert spread.std == pytest.approx(0.1)
    assert spread.values == {number + 1: pytest.approx(value - 0.01) for number, value in enumerate(ROBUST)}
    assert member.measured[Measure("attack", "fgsm")].mean == pytest.approx(0.6 - 0.01)
    assert campaign.confirmation.confirmed == ("clean_accuracy", "robust_accuracy")


def test_attacks_in_several_balls_are_told_apart(campaign):
    identity = campaign.front.members[0].candidate.id
    for number in (1, 2, 3):
        write(campaign.folder.root, identity, number, clean=0.9, robust=0.5, eps=(0.1, 0.05))
    names = {measure.column for measure in campaign.confirmation.member(identity).measured}
    assert {"attack_fgsm_linf_0.1", "attack_fgsm_linf_0.05", "suite_worst_case_linf_0.05"} <= names


def test_a_member_that_is_dominated_beyond_noise_leaves(campaign):
    """It is dearer than another one, and falls behind it in both accuracies by far more than the noise."""
    cheap = campaign.front.best("flops")
    dear = max(campaign.front, key=lambda e: e.objectives["flops"])
    assert dear.objectives["flops"] > cheap.objectives["flops"]
    for number in (1, 2, 3):
        write(campaign.folder.root, cheap.candidate.id, number, clean=0.95 + number / 1000, robust=0.9)
        write(campaign.folder.root, dear.candidate.id, number, clean=0.2 + number / 1000, robust=0.1)
    leaving, staying = (campaign.confirmation.member(e.candidate.id) for e in (dear, cheap))
    assert not leaving.standing.stays
    assert not leaving.standing.non_dominated
    assert leaving.standing.probability == 0
    assert leaving.unreliable
    assert staying.standing.stays
    assert staying.standing.non_dominated
    cells = " ".join(front_table(campaign).columns[0].cells)
    assert "LEAVES (0.00)" in cells
    table = campaign.confirmation.to_frame().set_index("id")
    assert not table.loc[dear.candidate.id, "stays"]


def test_members_are_compared_by_as_many_trainings_as_all_have(campaign):
    first = campaign.front.members[0].candidate.id
    for number in (2, 3):
        campaign.folder.retraining(first, number).unlink()
    found = campaign.confirmation
    assert math.isnan(found.member(first).standing.probability), "one training knows nothing of the noise"
    assert all(member.standing.stays for member in found.members)
    assert "noise unknown" in " ".join(front_table(campaign).columns[0].cells)
    other = found.member(campaign.front.members[1].candidate.id)
    assert len(other.confirmed_value("clean_accuracy").values) == 3, "means are over all there are"
    assert other.to_tree()["standing"]["probability"] is None


def test_a_failed_check_marks_the_member_everywhere(campaign):
    found = campaign.confirmation
    marked = [m.estimate.candidate.id for m in found.members if m.failed_checks]
    assert marked == [campaign.front.members[-1].candidate.id]
    member = found.member(marked[0])
    assert member.unreliable
    assert member.failed_checks == {"too_flat": 1}
    assert doubts(found) == [f"! {marked[0]} failed too_flat (1x)", "too_flat: Nothing moves."]
    cells = list(front_table(campaign).columns[0].cells)
    assert ["!" in cell for cell in cells] == [e.candidate.id == marked[0] for e in campaign.front]
    row = found.to_frame().set_index("id").loc[marked[0]]
    assert row["failed_checks"] == "too_flat"
    tree = member.to_tree()
    assert tree["failed_checks"] == {"too_flat": {"trainings": 1, "explanation": "Nothing moves."}}


def test_robustness_that_the_suite_does_not_find_leaves_the_front(campaign):
    """A defense that masks gradients: best for the search, and nothing of it left under the suite."""
    root, members = campaign.folder.root, campaign.front.members
    masking, honest = (e.candidate.id for e in members[:2])
    for number in (1, 2, 3):
        write(root, masking, number, clean=0.99, robust=0.01, seen=0.9)
        write(root, honest, number, clean=0.5, robust=0.4, seen=0.6)
    campaign = moosearch.Campaign(root)
    found = campaign.confirmation
    gone, stays = found.member(masking).standing, found.member(honest).standing
    assert gone.overestimated
    assert not gone.stays, "though it has the highest clean accuracy"
    assert not gone.non_dominated
    assert gone.probability == 0
    assert not stays.overestimated, "an honest network loses a third at most here"
    cells = " ".join(front_table(campaign).columns[0].cells)
    assert "LEAVES: overestimated" in cells
    assert any("robustness that is not there" in line for line in doubts(found))
    assert sum("bpda or square" in line for line in doubts(found)) == 1, "what to do about it"
    assert "the robustness of 1 is overestimated" in _confirmation(read_status(campaign).confirmation)
    assert "robustness that is not there" in confirmation(campaign)["overestimated"]
    assert found.to_frame().set_index("id").loc[masking, "overestimated"]
    assert "**It does not stay on the front" in _place(gone.to_tree())


def test_an_illusory_member_drives_nobody_off(campaign):
    root, members = campaign.folder.root, campaign.front.members
    cheapest = min(members, key=lambda e: e.objectives["flops"]).candidate.id
    others = [e.candidate.id for e in members if e.candidate.id != cheapest]
    for number, noise in ((1, 0.0), (2, 0.002), (3, 0.001)):
        write(root, cheapest, number, clean=0.95 + noise, robust=0.45 + noise, seen=0.95)
        for identity in others:
            write(root, identity, number, clean=0.6 + noise, robust=0.3 + noise)
    found = moosearch.Campaign(root).confirmation
    assert found.member(cheapest).standing.overestimated
    assert any(found.member(identity).standing.stays for identity in others)


@pytest.mark.parametrize(("seen", "overestimated"), [(0.04, False), (0.06, True)])
def test_a_few_points_are_no_illusion(campaign, seen, overestimated):
    root, identity = campaign.folder.root, campaign.front.members[0].candidate.id
    for number in (1, 2, 3):
        write(root, identity, number, clean=0.9, robust=0.0, seen=seen)
    assert moosearch.Campaign(root).confirmation.member(identity).standing.overestimated == overestimated


@pytest.mark.parametrize(("seen", "left", "overestimated"), [(0.5, 0.45, False), (0.8, 0.05, True)])
def test_a_weak_attack_in_a_ball_too_large_for_anybody_makes_no_illusion(campaign, seen, left, overestimated):
    """FGSM at eps 0.1 on honest CIFAR networks: nearly all that it leaves is gone under the suite."""
    root, identity = campaign.folder.root, campaign.front.members[0].candidate.id
    for number in (1, 2, 3):
        write(root, identity, number, clean=0.9, robust=left, seen=seen)
        path = root / "confirmed" / identity / f"{number}.json"
        record = json.loads(path.read_text())
        record["judgment"]["as_searched"]["weak"], record["objectives"]["weak"] = 0.1, 0.01
        path.write_text(json.dumps(record))
    assert moosearch.Campaign(root).confirmation.member(identity).standing.overestimated == overestimated


@pytest.mark.usefixtures("without_programs")
def test_the_card_tells_doubts(campaign):
    target = campaign.export(campaign.front.members[-1].candidate.id, campaign.folder.root / "model")
    card = (target / "CARD.md").read_text()
    assert "not to be relied on" in card
    assert "`too_flat`, in 1 of 3" in card
    assert "Nothing moves." in card
    assert f"| clean accuracy | {statistics.fmean(CLEAN):.4f} | {statistics.stdev(CLEAN):.4f} |" in card
    manifest = json.loads((target / "manifest.json").read_text())
    assert "Nothing: the recipe was not judged" in model_card(manifest | {"confirmation": None})


def test_the_front_is_drawn_twice(campaign):
    found, objectives = campaign.confirmation, campaign.header.objectives
    figure = plots.pairs(campaign.evaluations, objectives, found)
    axes = next(a for a in figure.axes if a.get_xlabel().startswith("clean"))
    count = len(campaign.front)
    estimates, means = (
        [[e.objectives[k] for k in ("clean_accuracy", "robust_accuracy")] for e in campaign.front],
        [[m.confirmed_value(k).mean for k in ("clean_accuracy", "robust_accuracy")] for m in found.members],
    )
    offsets = [np.asarray(c.get_offsets()) for c in axes.collections]
    for expected in (estimates, means):
        assert any(o.shape == (count, 2) and np.allclose(o, expected) for o in offsets)
    crossed = [o for o in offsets if o.shape == (1, 2) and np.allclose(o[0], means[-1])]
    unreliable = sum(m.unreliable for m in found.members)
    assert len(crossed) == 1 or unreliable > 1
    low, high = axes.get_xlim()
    assert low <= 0.8 < 0.9 <= high, "bars are inside"


def test_dumbbells_show_every_member(campaign):
    figure = plots.dumbbells(campaign.confirmation)
    assert len(figure.axes) == 3
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [e.candidate.id for e in campaign.front]
