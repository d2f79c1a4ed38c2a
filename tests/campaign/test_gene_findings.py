"""What is said of genes, in words and as data."""

import dataclasses
import json
from pathlib import Path

import pytest

from moosearch.analysis.gene_drift import Spread
from moosearch.analysis.gene_effects import Effect, Effects, Scale
from moosearch.analysis.gene_findings import _drifted, _objective, gene_findings
from moosearch.api.campaign import Campaign
from moosearch.campaign.header import Header
from moosearch.evaluation import Evaluation
from tests.campaign.bred import FLOPS, ROBUST, bred

REFERENCE = Path(__file__).parents[1] / "older/digits"
HEADER = Header("bred", (ROBUST, FLOPS), (), "nsga2", 12, 6, 0)


@pytest.fixture(scope="module")
def reference():
    campaign = Campaign(REFERENCE)
    return gene_findings(campaign.evaluations, campaign.header, campaign.confirmation)


def test_the_reference_campaign_is_told_honestly(reference):
    text = "\n".join(reference.lines)
    assert "candidates have training.attack = mixed, but nothing shows that it helps" in text
    assert "(genetic drift)" in text
    (none,) = [
        line
        for line in reference.lines
        if line.startswith("robust_accuracy: no difference that can be told from noise")
    ]
    for gene in ("training.attack (", "training.loss (", "training.attack.mixed.alpha0_min ("):
        assert gene in none
    robust = next(scale for scale in reference.effects.scales if scale.objective == "robust_accuracy")
    assert robust.r2_different > 0.8
    assert 0.01 < robust.noise < 0.06  # of its confirmed members


def test_everything_is_there_as_data(reference):
    tree = json.loads(json.dumps(reference.to_tree()))
    assert tree["findings"] == list(reference.lines)
    assert {each["verdict"] for each in tree["effects"]} <= {"difference", "none", "unknown"}
    assert [each["objective"] for each in tree["objectives"]] == [
        "clean_accuracy",
        "robust_accuracy",
        "flops",
    ]
    assert tree["drift"][0]["gene"] == "training.attack"


def test_the_same_seed_says_the_same():
    evaluations = bred(1, generations=3)
    first, again = (gene_findings(evaluations, HEADER, seed=4).to_tree() for _ in range(2))
    assert first == again


def test_where_nobody_descends_from_anybody_there_is_no_drift():
    evaluations = bred(1, generations=3)
    random = dataclasses.replace(HEADER, algorithm="random")
    assert gene_findings(evaluations, random).drift == ()


def test_too_few_candidates_say_so():
    evaluations = bred(1, generations=1)
    failed = Evaluation(evaluations[0].candidate, "failed", error="no")
    found = gene_findings([*evaluations, failed], HEADER)
    assert found.lines == ("nothing can be told from noise: too few candidates, 12 of 20 that are needed",)
    assert found.to_tree()["effects"] == []


def told(*effects, ratio=False, noise=float("nan"), counted=False):
    scale = Scale("y", ratio, 0.1, noise, 0.9, 0.8)
    return list(_objective(scale, Effects(effects, (scale,)), counted=counted))


def test_of_what_is_counted_genes_that_cannot_matter_are_left_out(reference):
    flops = [line for line in reference.lines if line.startswith("flops: ")]
    assert flops[0].startswith("flops: counted, not measured; architecture")
    assert not [line for line in flops if "training" in line or "dataset" in line]
    assert told(
        Effect("a", "y", "difference", 0.01, "u", "v", 0.2, 0.05, 0.25),
        Effect("a.u.b", "y", "unknown", 1.0, "1", "2", 0.05, 0.15, 0.2),
        Effect("training.c", "y", "unknown"),
        Effect("training.d", "y", "none", 1.0, "1", "2", 0.0, 0.0, 0.0),
        counted=True,
    ) == [
        "y: counted, not measured; a makes a difference. Alone it predicts 0.80 of its variance for "
        "candidates left out, all genes together 0.90.",
        "y: a = u is 0.2 ± 0.05 above v (95 %), p = 0.01.",
        "y: cannot be told, there are too few candidates (in brackets what is not excluded): a.u.b (0.2).",
    ]
    assert told(Effect("training.c", "y", "unknown"), counted=True) == [
        "y: no gene makes a difference that can be told."
    ]


def test_sentences():
    found = told(
        Effect("a", "y", "difference", 0.012, "u", "v", 0.2, 0.05, 0.25),
        Effect("b", "y", "none", 1.0, "1", "2", 0.01, 0.02, 0.03),
        Effect("c", "y", "unknown", 1.0, "1", "2", 0.05, 0.15, 0.2),
        Effect("d", "y", "unknown"),
        noise=0.03,
    )
    assert found == [
        "y: a makes a difference. Alone it predicts 0.80 of its variance for candidates left out, all genes "
        "together 0.90; trainings differ by 0.03 with their seed.",
        "y: a = u is 0.2 ± 0.05 above v (95 %), p = 0.012.",
        "y: no difference that can be told from noise, and none beyond (95 %): b (0.03).",
        "y: cannot be told, there are too few candidates (in brackets what is not excluded): c (0.2), d (too "
        "rare to compare).",
    ]
    assert told(Effect("b", "y", "none", 1.0, "1", "2", 0.0, 0.0, 0.0953), ratio=True) == [
        "y: no gene makes a difference that can be told from noise.",
        "y: no difference that can be told from noise, and none beyond (95 %): b (1.1 times).",
    ]
    assert (
        "2 (1.8 to 2.22) times that of v"
        in told(Effect("a", "y", "difference", 0.01, "u", "v", 0.6931, 0.1054, 0.8), ratio=True)[1]
    )


@pytest.mark.parametrize(
    ("chance", "verdict", "expected"),
    [
        (
            0.3,
            "none",
            "nothing shows that it helps: its share also grows when nothing is selected (genetic drift)",
        ),
        (0.01, "none", "more than drift explains, though no test shows that it helps"),
        (0.01, "difference", "the gene makes a difference in y"),
    ],
)
def test_sentences_about_drift(chance, verdict, expected):
    spread = Spread("a", "u", 83, 96, 0.75, 1.0, chance)
    found = _drifted(spread, Effects((Effect("a", "y", verdict),), ()))
    assert found.startswith("83 of 96 candidates have a = u")
    assert expected in found
    assert "75% of the first generation have it, 100% of the last one" in found
