"""Campaigns that nobody trained: recipes drawn from a space, objectives made up, all states."""

import dataclasses
from pathlib import Path

import numpy as np
from made_up import write_log

from moosearch.api.campaign import Campaign
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.report.data import space_genes
from moosearch.space import SearchSpace
from moosearch.space.files import dump
from moosearch.space.genes import Choice, Integer, Real

REFERENCE = Path(__file__).parents[1] / "older/digits"
"""A real campaign that was confirmed."""
OBJECTIVES = (
    ObjectiveInfo("clean_accuracy", "maximize", "fraction", 1.0, 0.0),
    ObjectiveInfo("robust_accuracy", "maximize", "fraction", 1.0, 0.0),
    ObjectiveInfo("flops", "minimize", "FLOP", 0.0, 2.2e6),
)
HOSTILE = "</script><img src=x onerror=window.hacked=1><script>window.hacked=2</script>"
"""A name that a page must show as it is."""
PLAIN = {
    "note": {"choice": ["plain", HOSTILE]},
    "dataset": {"name": "mnist", "auxiliary": {"choice": [["odd_even"], ["prime_composite"]]}},
    "architecture": {"name": "lenet", "width": {"log_real": [0.0625, 0.25]}},
    "training": {
        "epochs": {"integer": [2, 8]},
        "attack": {
            "choice": [{"name": "pgd", "steps": 5}, {"name": "mixed", "alpha0_min": {"real": [0.5, 0.95]}}]
        },
        "loss": {
            "choice": [
                {"name": "cross_entropy"},
                {"name": "trades", "beta": {"log_real": [1.0, 10.0]}},
                {"name": "mart", "beta": {"log_real": [1.0, 10.0]}},
            ]
        },
        "optimizer": {"lr": {"log_real": [0.0005, 0.005]}, "nesterov": {"choice": [True, False]}},
    },
}


def space():
    """The space as genes."""
    option = {"name": "mixed", "alpha0_min": Real(0.5, 0.95)}
    training = PLAIN["training"] | {
        "epochs": Integer(2, 8),
        "attack": Choice(("pgd", "mixed"), ({"name": "pgd", "steps": 5}, option)),
        "loss": Choice(
            ("cross_entropy", "trades", "mart"),
            (
                {"name": "cross_entropy"},
                {"name": "trades", "beta": Real(1.0, 10.0, log=True)},
                {"name": "mart", "beta": Real(1.0, 10.0, log=True)},
            ),
        ),
        "optimizer": {"lr": Real(0.0005, 0.005, log=True), "nesterov": Choice((True, False), (True, False))},
    }
    auxiliary = Choice(("odd_even", "prime_composite"), (["odd_even"], ["prime_composite"]))
    architecture = PLAIN["architecture"] | {"width": Real(0.0625, 0.25, log=True)}
    dataset = PLAIN["dataset"] | {"auxiliary": auxiliary}
    note = Choice(("plain", HOSTILE), ("plain", HOSTILE))
    return SearchSpace({"note": note, "dataset": dataset, "architecture": architecture, "training": training})


def evaluations(count, population, seed=0):
    """Made-up evaluations: the wider, the more accurate and dear; a few fail or miss the constraint."""
    generator = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        candidate = space().candidate(space().sample(generator))
        if candidate.id in found:
            continue
        number = len(found)
        common = {
            "seconds": {"train": 10.0 + number % 7, "measure": 1.5, "total": 11.5 + number % 7},
            "provenance": {"started": "2026-01-02T03:04:05+00:00", "host": "node", "device": "cpu"},
            "generation": 1 + number // population,
            "index": number % population,
        }
        if number % 23 == 5:
            error = f"Traceback:\nRuntimeError: out of memory {HOSTILE}"
            found[candidate.id] = Evaluation(candidate, "failed", error=error, failure="memory", **common)
            continue
        width = float(candidate.genome["architecture.width"])
        share = np.log(width / 0.0625) / np.log(4)
        clean = 0.99 - 0.3 * (1 - share) ** 2 - 0.15 * generator.random()
        values = {
            "clean_accuracy": round(float(clean), 4),
            "robust_accuracy": round(float(clean - 0.1 - 0.3 * generator.random()), 4),
            "flops": float(round(2e6 * width / 0.25)),
        }
        violation = (0.6 - values["clean_accuracy"]) / 0.6
        found[candidate.id] = Evaluation(
            candidate,
            "complete",
            objectives=values,
            metrics={"parameters": float(round(1e5 * width))},
            violations={"clean_accuracy >= 0.6": violation},
            **common,
        )
    return list(found.values())


def synthetic(root, count, *, name="synthetic", population=0, optimized=OBJECTIVES):
    """Write a campaign of as many candidates into a folder, and open it."""
    folder = CampaignFolder(root)
    folder.root.mkdir()
    population = population or max(4, count // 20)
    header = Header(
        name, optimized, ("clean_accuracy >= 0.6",), "nsga2", population, -(-count // population), 0
    )
    attack = {"name": "pgd", "eps": 0.2, "norm": "linf", "steps": 10}
    objectives = [
        {"name": "clean_accuracy"},
        {"name": "robust_accuracy", "attacks": [attack]},
        {"name": "flops"},
    ]
    campaign = {"name": name, "objectives": objectives}
    folder.spec.write_text(dump({"campaign": campaign, "candidate": PLAIN}))
    keys = {objective.key for objective in optimized}
    found = [
        dataclasses.replace(e, objectives={key: v for key, v in e.objectives.items() if key in keys})
        for e in evaluations(count, population)
    ]
    write_log(folder, header, found)
    assert space_genes({"candidate": PLAIN}) == space().genes()
    return Campaign(root)
