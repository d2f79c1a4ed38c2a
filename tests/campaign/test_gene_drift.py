"""How far labels that do nothing spread along lines of descent."""

import numpy as np
import pytest

from moosearch.analysis import gene_drift as module
from moosearch.analysis.gene_columns import Column
from moosearch.analysis.gene_drift import drop, nearest, spreads
from moosearch.evaluation import Candidate, Evaluation
from tests.campaign.bred import bred

WHEN = np.repeat(np.arange(1, 6), 8)


def generator():
    return np.random.default_rng(0)


def test_the_nearest_of_an_earlier_generation_is_the_ancestor():
    x = np.array([0.0, 10.0, 9.0, 1.0, 1.1, 9.2])
    when = np.array([1, 1, 2, 2, 3, 3])
    distances = (x[:, None] - x[None, :]) ** 2
    assert nearest(distances, when).tolist() == [0, 1, 1, 0, 3, 2]


def test_labels_are_passed_on_along_the_lines():
    """Where every child has its ancestor's label, labels never change on the way."""
    ancestors = np.concatenate([np.arange(8), np.arange(32)])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1] * 5)
    dropped = drop(labels, ancestors, WHEN, generator())
    assert dropped.shape == (40, module.DROPS)
    assert (dropped[8:] == dropped[:-8]).all()
    assert (dropped[:8].sum(axis=0) == 5).all()
    assert 0.55 < dropped[0].mean() < 0.7  # shuffled among the first generation: 5 of 8


def campaign(labels, lines):
    """Candidates of five generations; ``lines`` is a number that tells lines of descent apart."""
    return [
        Evaluation(Candidate(f"{i:012x}", {"label": label, "line": float(line)}, {}), "complete")
        for i, (label, line) in enumerate(zip(labels, lines, strict=True))
    ]


def spread(labels, lines):
    evaluations = campaign(labels, lines)
    columns = [Column.of(path, evaluations) for path in ("label", "line")]
    (found,) = spreads(columns, WHEN.tolist(), generator())
    return found


def test_the_label_of_one_successful_ancestor_spreads_by_chance():
    """All descend from the first candidate, whose label they have."""
    lines = [*range(8)] + [0] * 32
    found = spread(["a", "b"] * 4 + ["a"] * 32, lines)
    assert (found.option, found.candidates, found.of) == ("a", 36, 40)
    assert (found.first, found.last) == (0.5, 1.0)
    assert found.chance > 0.9


def test_a_label_that_all_lines_come_to_is_no_chance():
    """Every candidate of the first generation has its own line; in each of them the label wins."""
    labels = ["b"] * 7 + ["a"] + ["a"] * 32
    found = spread(labels, [*range(8)] * 5)
    assert (found.option, found.candidates) == ("a", 33)
    assert found.chance < 0.05


@pytest.mark.parametrize("lost", ["rare", "number", "one generation"])
def test_what_cannot_have_drifted_is_left_out(lost):
    labels = [float(i % 3) if lost == "number" else "ab"[i % 2] for i in range(40)]
    labels = ["a"] * 40 if lost == "one generation" else labels
    evaluations = campaign(labels, range(40))
    when = [1] * 40 if lost == "one generation" else WHEN.tolist()
    assert spreads([Column.of("label", evaluations)], when, generator()) == []


def test_genes_that_nothing_selects_are_within_chance(monkeypatch):
    """A chance below 5 % in 4 of 16 searches or more would itself have a chance of 1 in 143."""
    monkeypatch.setattr(module, "DOMINANT", 0.0)
    monkeypatch.setattr(module, "DROPS", 200)
    chances = []
    for seed in range(16):
        evaluations = bred(seed)
        paths = sorted({path for e in evaluations for path in e.candidate.genome})
        columns = [Column.of(path, evaluations) for path in paths]
        found = spreads(columns, [e.generation for e in evaluations], generator())
        chances += [each.chance for each in found if each.gene == "attack"]
    assert len(chances) == 16
    assert sum(chance < 0.05 for chance in chances) <= 3
    assert sum(chance > 0.3 for chance in chances) >= 5
