"""What the plots of genes show: bars, doubts, and shares of values."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from moosearch.analysis.importance import Importances
from moosearch.report.plots.genes import DOUBTED, distributions, importances, save
from moosearch.report.plots.style import MEMBER


@pytest.fixture
def found():
    genes = pd.DataFrame(
        {"within": ["", "loss=trades"], "candidates": [40, 13], "values": [2, 9]},
        index=pd.Index(["loss", "loss.trades.beta"], name="gene"),
    )
    table = pd.DataFrame({"accuracy": [0.2, 0.6], "cost": [0.1, np.nan]}, index=genes.index)
    trust = pd.DataFrame({"r2": [0.8, 0.1], "believed": [True, False]}, index=table.columns)
    return Importances("permutation", table, trust, genes, ())


def values(numbers, members):
    rows = [("loss", "trades" if i % 4 else "mart", f"{i}", "front" if i < 4 else "failed") for i in range(8)]
    rows += [("x", number, "", "front" if i in members else "dominated") for i, number in enumerate(numbers)]
    rows += [("same", 3, "", "front")] * 4
    return pd.DataFrame(rows, columns=["gene", "value", "id", "group"]).astype({"value": object})


def test_bars_are_importances_and_gray_where_not_believed(found):
    first, second = importances(found).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["loss", "loss.trades.beta (n = 13)"]
    assert [bar.get_width() for bar in first.patches] == [0.2, 0.6]
    assert {to_hex(bar.get_facecolor()) for bar in first.patches} == {MEMBER}
    assert {to_hex(bar.get_facecolor()) for bar in second.patches} == {DOUBTED}
    assert second.get_title(loc="left") == "cost, R² 0.10\nnot to be believed"
    assert [text.get_text() for text in second.texts] == ["-"]


def test_shares_of_names():
    axes = distributions(values([1, 2], {0})).axes[0]
    assert axes.get_title(loc="left") == "loss: 4 of 8 on the front"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["trades", "mart"]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25, 0.75, 0.25]


@pytest.mark.parametrize(
    ("numbers", "bins", "scale"),
    [([2, 4, 4, 6], 3, "linear"), ([0.1, 0.2, 0.5, 0.55], 12, "linear"), ([1e-4, 1e-3, 0.1, 0.2], 12, "log")],
)
def test_shares_of_numbers(numbers, bins, scale):
    axes = distributions(values(numbers, {1, 2})).axes[1]
    everybody, front = (patch.get_data() for patch in axes.patches)
    assert axes.get_xscale() == scale
    assert len(everybody.values) == bins
    assert everybody.values.sum() == pytest.approx(1)
    expected, _ = np.histogram(numbers[1:3], front.edges)
    assert front.values.tolist() == (expected / 2).tolist()
    assert axes.lines[0].get_xdata().tolist() == numbers[1:3]


def test_genes_of_one_value_are_left_out_and_nobody_may_be_on_the_front(found, tmp_path):
    figure = distributions(values([1.0, 20.0], set()))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["loss: 4 of 8 on the front", "x: 0 of 2 on the front", ""]
    found.table.loc[:] = np.nan
    assert [path.name for path in save(tmp_path, found, values([1.0, 20.0], set()))] == ["gene_values.png"]
