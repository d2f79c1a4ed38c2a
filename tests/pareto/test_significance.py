import itertools
import math

import numpy as np
import pytest
from scipy import stats

from moosearch.pareto.significance import compare_many, compare_two, effect_word, holm


def statistic(a, b):
    return sum((x > y) + 0.5 * (x == y) for x in a for y in b)


def brute_p(a, b):
    """Twice the share of all ways to divide the numbers in which U is as large, or as small."""
    everything = [*a, *b]
    all_of_them = []
    for chosen in itertools.combinations(range(len(everything)), len(a)):
        mine = [everything[i] for i in chosen]
        all_of_them.append(statistic(mine, [v for i, v in enumerate(everything) if i not in chosen]))
    u = statistic(a, b)
    one_sided = min(sum(other >= u for other in all_of_them), sum(other <= u for other in all_of_them))
    return min(1.0, 2 * one_sided / len(all_of_them))


@pytest.mark.parametrize("ties", [False, True])
def test_two_groups_as_counted(ties):
    generator = np.random.default_rng(1)
    for first, second in [(2, 2), (3, 3), (3, 5), (4, 4)]:
        draw = (lambda n: generator.integers(0, 4, n) / 4) if ties else generator.random
        a, b = draw(first).tolist(), draw(second).tolist()
        found = compare_two(a, b)
        assert found.effect == pytest.approx(statistic(a, b) / (first * second))
        assert found.p == pytest.approx(brute_p(a, b))
        assert found.least == pytest.approx(2 / math.comb(first + second, first))


def test_known_values():
    # Siegel & Castellan's example as in scipy's documentation: U = 17, exact p = 0.1111.
    males, females = [19, 22, 16, 29, 24], [20, 11, 17, 12]
    found = compare_two(males, females)
    assert found.p == pytest.approx(0.111111, abs=1e-6)
    assert found.effect == 17 / 20
    assert compare_two(females, males).effect == 3 / 20


def test_one_number_a_group_tests_nothing():
    found = compare_two([0.9], [0.1])
    assert found.effect == 1
    assert math.isnan(found.p)
    assert math.isnan(found.least)
    for wrong in ([], [math.nan]):
        with pytest.raises(ValueError, match="two groups"):
            compare_two(wrong, [1.0])


def test_many_groups():
    groups = [[2.9, 3.0, 2.5, 2.6, 3.2], [3.8, 2.7, 4.0, 2.4], [2.8, 3.4, 3.7, 2.2, 2.0]]
    # Hollander & Wolfe, table 6.2: H = 0.771, p = 0.68.
    assert compare_many(groups) == pytest.approx(stats.chi2.sf(0.77143, 2), abs=1e-4)
    assert compare_many([[1.0, 1.0]] * 3) == 1.0
    for wrong in ([[1.0, 2.0]] * 2, [[1.0, 2.0], [1.0, 3.0], [2.0]]):
        with pytest.raises(ValueError, match="three groups"):
            compare_many(wrong)


def test_holm_as_r_does_it():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.4, 0.001, 0.7]) == pytest.approx([0.8, 0.003, 0.8])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_effects_have_names():
    assert [effect_word(x) for x in (0.5, 0.57, 0.65, 0.72, 0.28, 0.0)] == [
        "negligible",
        "small",
        "medium",
        "large",
        "large",
        "large",
    ]
