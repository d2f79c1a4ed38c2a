"""Plots show what the ledger holds: the data in the artists, not pixels."""

import dataclasses

import numpy as np
import pytest

from moosearch.campaign.tables import hypervolume_table
from moosearch.report.plots import front as plots
from moosearch.report.plots.parallel_coordinates import parallel
from tests.made_up import ACCURACY, FLOPS, ROBUST, evaluated


def test_hypervolume_plot_shows_the_table(finished):
    figure = plots.hypervolume(finished.evaluations, finished.header)
    (line,) = figure.axes[0].lines
    table = hypervolume_table(finished.evaluations, finished.header)
    np.testing.assert_array_equal(line.get_xydata(), table[["evaluations", "hypervolume"]])


def test_pairs_show_every_member_and_the_knee(finished):
    figure = plots.pairs(finished.evaluations, finished.header.objectives)
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    assert len(panels) == 3
    front = finished.front
    for axes in panels:
        others, members, knee = axes.collections
        assert len(members.get_offsets()) == len(front)
        assert len(others.get_offsets()) == len(finished.evaluations) - len(front)
        index = front.members.index(front.knee())
        np.testing.assert_array_equal(knee.get_offsets()[0], members.get_offsets()[index])
        low, high = axes.get_xlim()
        assert all(low <= x <= high for x, _ in members.get_offsets())


def test_parallel_axes_put_better_up(finished):
    figure = parallel(finished.evaluations, finished.header.objectives)
    axes = figure.axes[0]
    lines = [line for line in axes.lines if len(line.get_ydata()) > 2]
    assert len(lines) == len(finished.front)
    cheapest = finished.front.best("flops")
    heights = [line.get_ydata()[2] for line in lines]
    assert max(heights) == pytest.approx(1) or len({e.objectives["flops"] for e in finished.front}) == 1
    assert cheapest in finished.front.members


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_of_objectives_is_drawn(finished, tmp_path, count):
    header = dataclasses.replace(finished.header, objectives=finished.header.objectives[:count])
    written = plots.save(tmp_path, finished.evaluations, header)
    assert (tmp_path / "front.png" in written) == (count > 1)
    assert all(path.stat().st_size > 5000 for path in written)


def test_a_campaign_without_a_front_has_a_hypervolume_plot_alone(finished, tmp_path):
    failed = [dataclasses.replace(e, status="failed", objectives={}) for e in finished.evaluations]
    assert [p.name for p in plots.save(tmp_path, failed, finished.header)] == ["hypervolume.png"]


@pytest.mark.parametrize(("rows", "bars"), [([(0.4, 0.3, 9)], 0), ([(0.4, 0.3, 9), (0.5, 0.2, 12)], 1)])
def test_one_color_needs_no_color_bar(rows, bars):
    objectives = (ACCURACY, ROBUST, FLOPS)
    evaluations = evaluated(rows, objectives)
    panels = parallel(evaluations, objectives).axes
    assert len(panels) == 1 + bars
    panels = plots.pairs(evaluations, objectives).axes
    assert len(panels) == 3 + 3 * bars
