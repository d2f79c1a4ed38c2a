"""Campaigns side by side: the scale, groups, the front of all, indicators, tests, and what is refused."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from made_up import ACCURACY, FLOPS, ROBUST, SPECS
from scipy import stats

from moosearch.analysis.comparison import compare, front_table, merge
from moosearch.analysis.comparison_tables import Measured, bands, natural
from moosearch.campaign.tables import hypervolume_table
from moosearch.errors import CampaignError, SpecError
from moosearch.pareto import hypervolume
from moosearch.pareto.dominance import to_losses
from moosearch.report.plots import comparison as comparison_plots
from moosearch.space.files import dump, load

# Accuracy up, FLOPs down.
ROWS = {
    ("nsga2", 0): [(0.9, 60), (0.7, 20), (0.6, 50), None, [0.99, 1]],
    ("nsga2", 1): [(0.85, 40), (0.5, 30), (0.95, 90), (0.2, 5), (0.1, 99)],
    ("nsga2", 2): [(0.7, 30), (0.92, 70), (0.3, 10), (0.1, 20), (0.5, 15)],
    ("random", 0): [(0.6, 40), (0.5, 20), (0.4, 70), (0.3, 90), (0.2, 10)],
    ("random", 1): [(0.8, 80), (0.4, 30), (0.2, 50), (0.3, 25), (0.1, 2)],
    ("random", 2): [(0.65, 55), (0.3, 35), (0.1, 50), (0.25, 15), None],
}


@pytest.fixture(scope="module")
def folders(made_up, tmp_path_factory):
    root = tmp_path_factory.mktemp("six")
    for (algorithm, seed), rows in ROWS.items():
        made_up(root / f"{algorithm}-{seed}", rows, algorithm=algorithm, seed=seed)
    return [root / f"{algorithm}-{seed}" for algorithm, seed in ROWS]


@pytest.fixture(scope="module")
def six(folders):
    return Measured(compare(folders))


def dominating(rows):
    """The non-dominated rows (accuracy, flops), by comparing all pairs."""

    def beats(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    return {row for row in rows if not any(beats(other, row) for other in rows)}


def feasible(key):
    return [row for row in ROWS[key] if isinstance(row, tuple)]


def test_seeds_of_one_thing_form_a_group(six):
    assert {name: [e.name for e in group] for name, group in six.comparison.groups.items()} == {
        "nsga2": ["nsga2-0", "nsga2-1", "nsga2-2"],
        "random": ["random-0", "random-1", "random-2"],
    }
    assert six.comparison.settings.index.tolist() == [
        "campaign.algorithm.name",
        "campaign.algorithm.crossover",
    ]
    assert six.comparison.settings.loc["campaign.algorithm.crossover"].tolist() == ["0.9"] * 3 + ["-"] * 3


def test_the_front_of_all_tells_where_its_members_are_from(six, folders):
    everything = {row: key for key in ROWS for row in feasible(key)}
    expected = {(*row, "-".join(map(str, everything[row]))) for row in dominating(everything)}
    front = merge(folders)
    found = {(e.objectives["clean_accuracy"], e.objectives["flops"], e.provenance["campaign"]) for e in front}
    assert found == expected
    table = front_table(front)
    assert table.columns[:4].tolist() == ["id", "campaign", "clean_accuracy", "flops"]
    assert set(table["campaign"]) == {campaign for *_, campaign in expected}
    counts = six.campaigns.set_index("campaign")["merged"]
    assert counts.to_dict() == {f"{a}-{s}": sum(c == f"{a}-{s}" for *_, c in expected) for a, s in ROWS}
    assert six.campaigns["share"].sum() == pytest.approx(1)


def test_the_table_of_campaigns(six):
    for row, (key, rows) in zip(six.campaigns.to_dict("records"), ROWS.items(), strict=True):
        own = dominating(feasible(key))
        assert (row["algorithm"], row["seed"]) == key
        assert row["evaluations"] == 5
        assert row["failed"] == sum(r is None for r in rows)
        assert row["infeasible"] == sum(isinstance(r, list) for r in rows)
        assert row["front"] == len(own)
        assert row["hypervolume"] == pytest.approx(hypervolume(np.array([[1 - a, f / 100] for a, f in own])))
        merged = [
            (1 - e.objectives["clean_accuracy"], e.objectives["flops"] / 100) for e in six.comparison.merged
        ]
        shortfalls = [
            min(math.hypot(max(1 - a - x, 0), max(f / 100 - y, 0)) for a, f in own) for x, y in merged
        ]
        assert row["igd_plus"] == pytest.approx(sum(shortfalls) / len(shortfalls))


def test_groups_are_tested(six):
    tests = six.tests.set_index("metric")
    assert tests.index.tolist() == ["hypervolume", "igd_plus"]
    for metric, better in (("hypervolume", 1), ("igd_plus", -1)):
        by_group = {name: rows[metric].to_numpy() for name, rows in six.campaigns.groupby("group")}
        a, b = by_group["nsga2"], by_group["random"]
        row = tests.loc[metric]
        wins = [better * (x - y) > 0 for x, y in itertools.product(a, b)]
        assert row["effect"] == pytest.approx(np.mean(wins))
        assert row["p"] == pytest.approx(stats.mannwhitneyu(a, b).pvalue)
        assert row["p_holm"] == row["p"]
        assert row["least_p"] == pytest.approx(0.1)
        assert (row["n_first"], row["n_second"]) == (3, 3)
    assert any("3 and 3 campaigns cannot have p below 0.1" in note for note in six.notes)
    assert six.overall == {}


def test_coverage_of_groups(six):
    fronts = {
        name: dominating(
            [row for (algorithm, seed) in ROWS if algorithm == name for row in feasible((algorithm, seed))]
        )
        for name in ("nsga2", "random")
    }
    for name, other in itertools.permutations(fronts):
        covered = [any(a >= x and f <= y for a, f in fronts[name]) for x, y in fronts[other]]
        assert six.coverage.loc[name, other] == pytest.approx(np.mean(covered))
        assert six.coverage.loc[name, name] == 1
    by_group = six.groups.set_index("group")
    assert by_group["front"].to_dict() == {name: len(front) for name, front in fronts.items()}
    middle = six.campaigns.groupby("group")["hypervolume"].median()
    assert by_group["hypervolume"].to_dict() == pytest.approx(middle.to_dict())


def test_histories_end_at_the_hypervolume(six):
    for entry in six.comparison.entries:
        history = six.histories[entry.name]
        assert history[-1] == pytest.approx(entry.front.hypervolume())
        by_generation = hypervolume_table(entry.evaluations, entry.header)
        assert history[by_generation["evaluations"] - 1] == pytest.approx(
            by_generation["hypervolume"].to_numpy()
        )
    low, middle, high = bands([np.array([0.0, 1.0, 9.0]), np.array([2.0, 5.0]), np.array([4.0, 3.0])])
    assert (low.tolist(), middle.tolist(), high.tolist()) == ([1, 2], [2, 3], [3, 4])


def test_what_half_of_a_group_attains(six):
    surfaces = six.attainment(FLOPS, ACCURACY)
    for group, by_share in surfaces.items():
        runs = [feasible(key) for key in ROWS if key[0] == group]
        for share, surface in by_share.items():
            points = natural(surface, [FLOPS, ACCURACY])
            assert len(points)
            for flops, accuracy in points:
                reached = sum(any(a >= accuracy - 1e-9 and f <= flops + 1e-9 for a, f in run) for run in runs)
                assert reached >= math.ceil(share * 3)
                easier = sum(any(a >= accuracy + 0.001 and f <= flops - 0.1 for a, f in run) for run in runs)
                assert easier < math.ceil(share * 3)


def test_natural_values_are_those_that_losses_stand_for(six):
    entry = six.comparison.entries[0]
    objectives = six.comparison.objectives
    values = natural(to_losses(entry.front.members, objectives), objectives)
    assert values == pytest.approx(np.array([[e.objectives[o.key] for o in objectives] for e in entry.front]))


def test_plain_data_is_json(six):
    tree = json.loads(json.dumps(six.to_tree(), allow_nan=False))
    assert [row["campaign"] for row in tree["campaigns"]] == [f"{a}-{s}" for a, s in ROWS]
    assert tree["coverage"]["nsga2"]["nsga2"] == 1
    assert len(tree["histories"]["random-1"]) == 5


def test_two_campaigns_are_not_tested(folders):
    measured = Measured(compare([folders[0], folders[3]]))
    assert list(measured.comparison.groups) == ["nsga2-0", "random-0"]
    assert measured.tests[["p", "effect", "p_holm", "least_p"]].isna().all(axis=None)
    assert any("not tested: nsga2-0, random-0" in note for note in measured.notes)
    assert not any("Mann-Whitney" in note for note in measured.notes)


def test_one_group_is_not_tested(folders):
    measured = Measured(compare(folders[:3]))
    assert list(measured.comparison.groups) == ["like nsga2-0"]
    assert measured.tests.empty
    assert any("nothing is tested" in note for note in measured.notes)


def test_three_groups_are_tested_together(folders, made_up, tmp_path):
    others = []
    for seed in range(2):
        rows = [(0.95, 10 + seed), (0.5, 5), (0.4, 50), (0.3, 60), (0.2, 70)]
        made_up(tmp_path / f"grid-{seed}", rows, algorithm="grid", seed=seed)
        others.append(tmp_path / f"grid-{seed}")
    measured = Measured(compare([*folders, *others]))
    values = [rows["hypervolume"].tolist() for _, rows in measured.campaigns.groupby("group", sort=False)]
    assert measured.overall["hypervolume"] == pytest.approx(stats.kruskal(*values).pvalue)
    mine = measured.tests[measured.tests["metric"] == "hypervolume"]
    assert len(mine) == 3
    assert (mine["p_holm"] >= mine["p"]).all()
    assert mine["p_holm"].max() <= 1
    smallest = mine.loc[mine["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1, 3 * smallest["p"]))
    notes = "\n".join(measured.notes)
    assert "3 and 3 campaigns cannot have p below 0.1, nor p_holm below 0.3" in notes
    assert "favor the larger group" in notes
    assert not any("favor the larger group" in note for note in Measured(compare(folders)).notes)


def test_groups_are_too_small_where_the_correction_asks_for_more(made_up, tmp_path):
    """Of four and four, p may be 0.029: enough for one pair of groups, and not for three."""
    for algorithm in ("nsga2", "random", "grid"):
        for seed in range(4):
            made_up(tmp_path / f"{algorithm}-{seed}", [(seed / 10, 50)], algorithm=algorithm, seed=seed)

    def told(*algorithms):
        folders = [tmp_path / f"{name}-{seed}" for name in algorithms for seed in range(4)]
        return [note for note in Measured(compare(folders)).notes if "cannot have" in note]

    assert told("nsga2", "random") == []
    (note,) = told("nsga2", "random", "grid")
    assert "cannot have p below 0.029, nor p_holm below 0.086" in note


@pytest.mark.parametrize(
    ("rules", "groups"),
    [
        (["algorithm"], ["nsga2", "nsga2", "random"]),
        (["space"], ["x=[0, 99]", "x=[0, 50]", "x=[0, 99]"]),
        (["campaign.budget.population"], ["4", "2", "2"]),
        (["first=a", "rest=[bc]"], ["first", "rest", "rest"]),
        ([], ["a", "b", "c"]),
    ],
)
def test_groups_as_wished(made_up, tmp_path, rules, groups):
    rows = [(0.5, 50)]
    made_up(tmp_path / "a", rows)
    made_up(tmp_path / "b", rows, population=2, x=(0, 50))
    made_up(tmp_path / "c", rows, population=2, algorithm="random")
    found = compare([tmp_path / name for name in "abc"], rules)
    assert [entry.group for entry in found.entries] == groups


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["algorithmus"], r"no setting is called 'algorithmus'. Did you mean 'algorithm'\?"),
        (["campaign.budget.populaton"], r"Did you mean 'campaign.budget.population'\?"),
        (["space", "algorithm"], "got 2 rules"),
        (["one=*-0", "two=nsga2-*"], "nsga2-0 fits several patterns"),
        (["one=*-0"], "nsga2-1 fits no pattern"),
        (["one=*-0", "two"], "got 'two', expected NAME=PATTERN"),
    ],
)
def test_groups_that_are_none(folders, rules, message):
    with pytest.raises(SpecError, match=message):
        compare(folders[:2], rules)


def test_recipes_are_a_setting_and_where_they_come_from_is_none(made_up, tmp_path):
    """A version that knew of no recipes had none."""
    begun = {"a": None, "b": [], "c": [{"from": "a paper", "x": 3}], "d": [{"from": "another", "x": 3}]}
    for seed, (name, recipes) in enumerate(begun.items()):
        spec = made_up(tmp_path / name, [(0.5, 50)], seed=seed).folder.spec
        if recipes is not None:
            tree = load(spec).data
            tree["campaign"]["initial"] = recipes
            spec.write_text(dump(tree))
    found = compare([tmp_path / name for name in begun])
    first, second = found.groups.values()
    assert [e.name for e in first] == ["a", "b"]
    assert [e.name for e in second] == ["c", "d"]
    assert found.settings.to_dict("index") == {
        "campaign.initial": {"a": "-", "b": "-", "c": '[{"x": 3}]', "d": '[{"x": 3}]'}
    }


def test_one_scale_holds_all(made_up, tmp_path):
    far = dataclasses.replace(FLOPS, reference=400.0)
    near = dataclasses.replace(ACCURACY, reference=0.2)
    made_up(tmp_path / "near", [(0.5, 50)], objectives=(near, FLOPS), seed=1)
    made_up(tmp_path / "far", [(200, 0.5)], objectives=(far, ACCURACY))
    found = compare([tmp_path / "near", tmp_path / "far"])
    assert [o.reference for o in found.objectives] == [0.0, 400.0]
    assert "the smallest that holds all" in found.scale
    assert [e.front.hypervolume() for e in found.entries] == pytest.approx([0.5 * 7 / 8, 0.5 * 0.5])
    assert [e.group for e in found.entries] == ["like near", "like near"]  # a reference point is no setting


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"objectives": (ACCURACY, ROBUST)}, "only .*has the objective"),
        ({"objectives": (ACCURACY, dataclasses.replace(FLOPS, unit="MFLOP"))}, r"flops\.unit is FLOP there"),
        ({"dataset": "mnist"}, r"dataset\.name is digits there and mnist here"),
    ],
)
def test_what_does_not_measure_the_same_is_refused(made_up, tmp_path, other, message):
    made_up(tmp_path / "a", [(0.5, 50)])
    made_up(tmp_path / "b", [(0.5, 50)], **other)
    with pytest.raises(SpecError, match=message):
        compare([tmp_path / "a", tmp_path / "b"])


def test_another_judging_attack_is_refused_and_a_new_default_is_not(made_up, tmp_path):
    def robust(**changed):
        attack = SPECS["robust_accuracy"]["attacks"][0] | changed
        return SPECS | {"robust_accuracy": {"name": "robust_accuracy", "attacks": [attack]}}

    objectives = (ROBUST, FLOPS)
    made_up(tmp_path / "a", [(0.5, 50)], objectives=objectives)
    made_up(tmp_path / "b", [(0.5, 50)], objectives=objectives, specs=robust(steps=20))
    made_up(tmp_path / "c", [(0.5, 50)], objectives=objectives, specs=robust(restarts=1))
    with pytest.raises(SpecError, match=r"robust_accuracy\.attacks\.0\.steps is 2 there and 20 here"):
        compare([tmp_path / "a", tmp_path / "b"])
    for pair in (("a", "c"), ("c", "a")):
        assert len(compare([tmp_path / name for name in pair]).entries) == 2


def test_what_cannot_be_compared(folders, tmp_path):
    with pytest.raises(SpecError, match="got 1 campaign"):
        compare(folders[:1])
    with pytest.raises(SpecError, match="named twice"):
        compare([folders[0], folders[1], folders[0].parent / "." / folders[0].name])
    with pytest.raises(CampaignError, match="no campaign here"):
        compare([folders[0], tmp_path])


def test_doubtful_comparisons_say_so(made_up, tmp_path):
    made_up(tmp_path / "a", [(0.5, 50), (0.6, 60)])
    made_up(tmp_path / "b", [(0.5, 50)], finished=False)
    made_up(tmp_path / "c", [None], algorithm="random")
    measured = Measured(compare([tmp_path / name for name in "abc"]))
    notes = "\n".join(measured.notes)
    assert "a and b of nsga2 have the same settings and seed" in notes
    assert "not finished: b" in notes
    assert "no feasible candidate: c" in notes
    assert "hypervolume_at_1 compares them" in notes
    table = measured.campaigns.set_index("campaign")
    assert table["hypervolume_at_1"].tolist() == pytest.approx([0.25, 0.25, 0.0])
    assert table.loc["c", "igd_plus"] == pytest.approx(
        np.mean([np.hypot(0.5, 0.5), np.hypot(0.5, 0.5), np.hypot(0.6, 0.4)])
    )
    json.dumps(measured.to_tree(), allow_nan=False)


def test_nothing_feasible_anywhere(made_up, tmp_path):
    for seed in range(2):
        made_up(tmp_path / f"{seed}", [None, None], seed=seed)
    measured = Measured(compare([tmp_path / "0", tmp_path / "1"]))
    assert len(measured.comparison.merged) == 0
    assert measured.campaigns["igd_plus"].isna().all()
    json.dumps(measured.to_tree(), allow_nan=False)
    assert [path.stem for path in comparison_plots.save(tmp_path / "plots", measured)] == [
        "compare_hypervolume"
    ]


def test_one_objective(made_up, tmp_path):
    for seed, accuracy in enumerate((0.5, 0.8)):
        made_up(tmp_path / f"{seed}", [(accuracy,), (0.1,)], objectives=(ACCURACY,), seed=seed)
    measured = Measured(compare([tmp_path / "0", tmp_path / "1"]))
    assert measured.campaigns["igd_plus"].tolist() == pytest.approx([0.3, 0.0])
    assert measured.campaigns["hypervolume"].tolist() == pytest.approx([0.5, 0.8])
    assert len(comparison_plots.save(tmp_path / "plots", measured)) == 1


def test_plots_show_every_group(six, tmp_path):
    paths = comparison_plots.save(tmp_path, six)
    assert [path.stem for path in paths] == ["compare_hypervolume", "compare_fronts", "compare_attainment"]
    assert all(path.stat().st_size > 10000 and path.with_suffix(".pdf").exists() for path in paths)
    (axes,) = comparison_plots.fronts(six).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "flops (lower is better)",
        "clean accuracy (higher is better)",
    )
    drawn = np.vstack([collection.get_offsets() for collection in axes.collections[:-1]])
    fronts = {(f, a) for key in ROWS for a, f in dominating(feasible(key))}
    assert set(map(tuple, drawn.tolist())) == fronts
    rings = set(map(tuple, axes.collections[-1].get_offsets().tolist()))
    assert rings == {(e.objectives["flops"], e.objectives["clean_accuracy"]) for e in six.comparison.merged}


def test_attainment_is_drawn_towards_the_worse_corner(six):
    (axes,) = comparison_plots.attainment(six).axes
    (right, _), (low, high) = reversed(axes.get_xlim()), axes.get_ylim()
    medians = [line for line in axes.lines if line.get_linewidth() > 1]
    assert len(medians) == 2
    for line in medians:
        x, y = line.get_data()
        assert y[0] == pytest.approx(low)
        assert x[-1] == pytest.approx(right)
        assert (np.diff(x) >= -1e-9).all()
        assert (np.diff(y) >= -1e-9).all()
        assert y[-1] <= high
