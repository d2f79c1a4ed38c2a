"""Grid search: every combination, in the order of the file."""

import pytest

from moosearch.errors import SpecError

NODE = {"lr": {"choice": [0.1, 0.01]}, "model": {"name": "small", "width": {"integer": [4, 12, 4]}}}


def test_combinations_come_in_the_order_of_the_space(space_of, start, drive, random_answer):
    space = space_of(NODE)
    generations = drive(start("grid", space, population=4), random_answer, 10)
    assert [len(candidates) for candidates in generations] == [4, 2]
    genomes = [candidate.genome for candidates in generations for candidate in candidates]
    assert genomes == list(space.enumerate())


def test_the_seed_does_not_matter(space_of, start):
    asked = [start("grid", space_of(NODE), seed=seed).ask() for seed in (0, 1)]
    assert asked[0] == asked[1]


def test_losses_do_not_matter(space_of, start, drive, random_answer):
    silent = start("grid", space_of(NODE), population=2)
    told = drive(start("grid", space_of(NODE), population=2), random_answer, 10)
    assert [silent.ask() for _ in told] == told


@pytest.mark.parametrize(
    "node", [{"lr": {"real": [0, 1]}}, {"model": {"choice": ["small", {"name": "deep"}]}}]
)
def test_only_real_genes_are_refused(space_of, start, node):
    space = space_of(node)
    if space.size == 2:
        assert len(start("grid", space).ask()) == 2
    else:
        with pytest.raises(SpecError, match="grid cannot list real genes"):
            start("grid", space)
