"""Campaigns that nobody trained, of recipes and objectives that a test makes up."""

import pytest

from moosearch.api.campaign import Campaign
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.campaign.observer import Finished
from moosearch.campaign.record import FORMAT
from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.space.files import dump

ACCURACY = ObjectiveInfo("clean_accuracy", "maximize", "fraction", 1.0, 0.0)
ROBUST = ObjectiveInfo("robust_accuracy", "maximize", "fraction", 1.0, 0.0)
FLOPS = ObjectiveInfo("flops", "minimize", "FLOP", 0.0, 100.0)
SPECS = {
    "clean_accuracy": {"name": "clean_accuracy"},
    "robust_accuracy": {"name": "robust_accuracy", "attacks": [{"name": "pgd", "eps": 0.1, "steps": 2}]},
    "flops": {"name": "flops"},
}


def evaluated(rows, objectives, generation=4):
    """Evaluations with the objectives of each row; None failed, and a row in a list is infeasible."""
    found = []
    for number, row in enumerate(rows):
        candidate = Candidate(f"{number:012x}", {"x": number}, {"x": number})
        where = {"generation": 1 + number // generation, "index": number % generation}
        if row is None:
            found.append(Evaluation(candidate, "failed", error="RuntimeError: no", failure="error", **where))
            continue
        values = dict(zip((o.key for o in objectives), map(float, row), strict=True))
        violations = {"flops <= 1": 1.0 if isinstance(row, list) else 0.0}
        found.append(Evaluation(candidate, "complete", values, {}, violations, **where))
    return found


def write_log(folder, header, evaluations, *, finished=True):
    """Write the log of a campaign: what it says of itself, and evaluations."""
    with EventLog(folder.events) as log:
        log.append("created", format=FORMAT, header=header.to_tree(), spec={}, environment={"id": None})
        log.append("started", known=0, workers=1)
        for evaluation in evaluations:
            log.append("evaluated", **evaluation.to_tree())
        if finished:
            log(Finished())


@pytest.fixture(scope="session")
def made_up():
    """Write a campaign into a folder: (folder, rows of objectives, ...) -> Campaign."""

    def write(
        root,
        rows,
        *,
        objectives=(ACCURACY, FLOPS),
        algorithm="nsga2",
        seed=0,
        population=4,
        finished=True,
        specs=SPECS,
        dataset="digits",
        x=(0, 99),
    ):
        folder = CampaignFolder(root)
        folder.root.mkdir(parents=True)
        campaign = {
            "name": folder.root.name,
            "seed": seed,
            "objectives": [specs[o.key] for o in objectives],
            "algorithm": {"name": algorithm, **({"crossover": 0.9} if algorithm == "nsga2" else {})},
            "budget": {"population": population, "generations": 2},
            "reference_point": {o.key: o.reference for o in objectives},
        }
        space = {"dataset": {"name": dataset, "auxiliary": []}, "x": {"integer": list(x)}}
        folder.spec.write_text(dump({"campaign": campaign, "candidate": space}))
        header = Header(folder.root.name, tuple(objectives), (), algorithm, population, 2, seed)
        write_log(folder, header, evaluated(rows, objectives, population), finished=finished)
        return Campaign(root)

    return write
