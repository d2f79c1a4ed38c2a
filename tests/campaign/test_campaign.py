"""A campaign as it is held in a notebook: rendered, as a frame, and on axes of one's own."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from moosearch.api.campaign import Campaign
from moosearch.campaign.tables import candidates_table, hypervolume_table
from moosearch.errors import SpecError
from moosearch.pareto import Front
from moosearch.report.plots import front as plots


@pytest.fixture(scope="module")
def campaign():
    return Campaign(Path(__file__).resolve().parents[1] / "older/digits")


def test_it_renders_as_facts_and_the_front(campaign):
    shown = campaign._repr_html_()
    assert shown.startswith("<p><b>digits</b>: 96 candidates, nsga2, population 12, seed 0, finished</p>")
    assert shown.endswith(campaign.front._repr_html_())
    assert repr(campaign) == f"Campaign('{campaign.folder.root}')"


def test_candidates_of_an_older_version_are_the_same_candidates_now(campaign):
    """A field that came later must be `late`: else ids change, and with them seeds and results."""
    from moosearch.space import SearchSpace
    from moosearch.space.files import load
    from moosearch.training import CandidateSpec

    space = SearchSpace.parse(load(campaign.folder.spec).data["candidate"], CandidateSpec)
    stored = [e.candidate for e in campaign.evaluations]
    assert [space.candidate(candidate.genome).id for candidate in stored] == [c.id for c in stored]


def test_its_frame_has_a_row_a_candidate(campaign):
    frame = campaign.to_frame()
    assert frame.equals(candidates_table(campaign.evaluations))
    assert frame["id"].tolist() == [e.candidate.id for e in campaign.evaluations]


def offsets(axes):
    return [collection.get_offsets() for collection in axes.collections]


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ({}, ("flops", "clean_accuracy")),
        ({"y": "robust_accuracy"}, ("flops", "robust_accuracy")),
        ({"y": "flops"}, ("clean_accuracy", "flops")),
        ({"x": "clean_accuracy"}, ("clean_accuracy", "robust_accuracy")),
        ({"x": "robust_accuracy", "y": "clean_accuracy"}, ("robust_accuracy", "clean_accuracy")),
    ],
)
def test_the_front_is_drawn_on_the_axis_given(campaign, given, drawn):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert campaign.plot_front(right, **given) is right
    assert not left.has_data()
    across, up = (key.replace("_", " ") for key in drawn)
    assert right.get_xlabel().startswith(across)
    assert right.get_ylabel().startswith(up)
    members = [[e.objectives[key] for key in drawn] for e in campaign.front]
    assert any(np.array_equal(points, members) for points in offsets(right))
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[0] == f"front, estimates ({len(members)})"


def test_without_an_axis_it_is_pyplots(campaign):
    from matplotlib import pyplot as plt

    plt.switch_backend("agg")
    figure, axes = plt.subplots()
    assert campaign.plot_front() is axes
    plt.close(figure)


def test_the_hypervolume_is_drawn_on_the_axis_given(campaign):
    axes = Figure().subplots()
    assert campaign.plot_hypervolume(axes) is axes
    table = hypervolume_table(campaign.evaluations, campaign.header)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), table[["evaluations", "hypervolume"]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "flop"}, "no objective is called 'flop'. Did you mean 'flops'?"),
        ({"x": "flops", "y": "flops"}, "two objectives are drawn against each other: got 'flops' alone."),
    ],
)
def test_an_axis_without_its_objective_is_refused(campaign, given, message):
    axes = Figure().subplots()
    with pytest.raises(SpecError) as caught:
        campaign.plot_front(axes, **given)
    assert message in str(caught.value)
    assert not axes.has_data()


def test_an_empty_front_is_not_drawn(campaign, monkeypatch):
    monkeypatch.setattr(
        "moosearch.report.plots.front.Front.of", lambda _all, objectives: Front((), objectives)
    )
    with pytest.raises(SpecError, match="the front is empty"):
        campaign.plot_front(Figure().subplots())


def test_a_single_objective_has_no_pair(campaign):
    with pytest.raises(SpecError, match="two objectives"):
        plots.front_on(Figure().subplots(), campaign.evaluations, campaign.header.objectives[:1])
