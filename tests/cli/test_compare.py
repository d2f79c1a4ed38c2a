"""`moosearch compare` and `moosearch analyze genes` as a user calls them."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from moosearch.analysis.comparison import compare
from moosearch.analysis.comparison_tables import Measured
from moosearch.api.campaign import Campaign
from moosearch.cli.compare import _tables

REFERENCE = Path(__file__).parents[1] / "older/digits"


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    for name, number in (("TREES", 20), ("SHUFFLES", 3)):
        monkeypatch.setattr(f"moosearch.analysis.importance.{name}", number)


@pytest.fixture(scope="module")
def two(made_up, tmp_path_factory):
    """Two campaigns of 24 candidates, of two algorithms."""
    root = tmp_path_factory.mktemp("two")
    generator = np.random.default_rng(0)
    for algorithm in ("nsga2", "random"):
        rows = [(round(float(a), 3), round(float(f))) for a, f in generator.uniform((0, 1), (1, 99), (24, 2))]
        made_up(root / algorithm, rows, algorithm=algorithm)
    return root / "nsga2", root / "random"


def test_compare_prints_tables_and_what_they_mean(cli, two):
    code, out, err = cli("compare", *two)
    assert (code, err) == (0, "")
    for text in (
        "settings that differ",
        "campaigns (the front of all",
        "IGD+",
        "coverage",
        "not tested: nsga2",
    ):
        assert text in out


def test_compare_as_csv_and_json(cli, two):
    _, out, _ = cli("compare", *two, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["campaign"] for row in rows] == ["nsga2", "random"]
    _, out, _ = cli("compare", *two, "--json")
    assert [row["hypervolume"] for row in json.loads(out)["campaigns"]] == [
        float(r["hypervolume"]) for r in rows
    ]
    _, out, _ = cli("compare", *two, "--front", "--csv")
    members = list(csv.DictReader(io.StringIO(out)))
    assert len(members) == sum(int(row["merged"]) for row in rows)
    assert {row["campaign"] for row in members} <= {"nsga2", "random"}
    _, out, _ = cli("compare", *two, "--front")
    assert f"front of all: {len(members)} members" in out
    assert all(row["id"] in out for row in members)


def test_groups_are_tables_with_tests(cli, made_up, tmp_path):
    folders = []
    for number in range(6):
        made_up(tmp_path / f"{number}", [(0.5 + 0.05 * number, 50)], seed=number)
        folders.append(tmp_path / f"{number}")
    code, out, _ = cli("compare", *folders, "--group-by", "low=[012]", "--group-by", "high=[345]")
    assert code == 0
    for text in ("groups: median", "differences between groups", "low (3)", "0.00 (large)", "0.1"):
        assert text in out


def test_tables_fit_a_terminal_of_80_columns(made_up, tmp_path):
    """The widest case: different numbers of evaluations, failures, and long names of groups."""
    for number in range(5):
        rows = [(0.5 + 0.05 * number, 50), (0.3, 20), *([None, [0.4, 1]] if number else [])]
        made_up(tmp_path / f"campaign-{number}", rows, seed=number)
    rules = ["a group of a long name=*-[012]", "another of a long name=*-[34]"]
    measured = Measured(compare(sorted(tmp_path.iterdir()), rules))
    terminal = Console(width=80)
    with terminal.capture() as captured:
        for table in _tables(measured):
            assert terminal.measure(table).minimum <= 80
            terminal.print(table)
    _, campaigns, rest = captured.get().partition("campaigns (")
    campaigns, _, groups = rest.partition("groups: ")
    assert all(word in campaigns for word in ("campaign", "a group", "failed,", "1, 1", "0.3650", "0.0333"))
    assert all(word in groups.split("differences")[0] for word in ("another", "0.3525-", "share", "50%"))


def test_plots_and_page_are_written(cli, two, tmp_path):
    code, _, err = cli(
        "compare", *two, "--out", tmp_path / "plots", "--html", tmp_path / "page.html", "--csv"
    )
    assert code == 0
    assert {path.name for path in (tmp_path / "plots").glob("*.png")} == {
        "compare_fronts.png",
        "compare_hypervolume.png",
    }
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert str(tmp_path / "page.html") in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "--json"], "--csv and --json cannot both"),
        (["--html", "."], "--html: . is a folder"),
        (["--html", "/proc/none/page.html"], "--html: /proc/none/page.html: cannot write here"),
        (["--out", "/proc/none"], "/proc/none: cannot write here"),
        (["--group-by", "nobody"], "no setting is called 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_line(cli, two, arguments, message):
    code, _, err = cli("compare", *two, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_genes_as_table_csv_json_and_plots(cli, two, tmp_path):
    code, out, err = cli("analyze", "genes", two[0], "--out", tmp_path)
    assert code == 0
    assert "R²" in out
    assert "used: 24 candidates" in out
    assert "- clean_accuracy: no gene makes a difference that can be told from noise." in out
    assert {path.stem for path in tmp_path.glob("*.pdf")} == {"gene_importance", "gene_values"}
    assert str(tmp_path / "gene_values.png") in err
    _, out, _ = cli("analyze", "genes", two[0], "--csv", "--out", tmp_path)
    (row,) = csv.DictReader(io.StringIO(out))
    _, out, _ = cli("analyze", "genes", two[0], "--json", "--out", tmp_path)
    tree = json.loads(out)
    assert tree["genes"][0]["clean_accuracy"] == float(row["clean_accuracy"])
    assert {each["objective"] for each in tree["effects"]} == {"clean_accuracy", "flops"}
    assert all(line.startswith(("clean_accuracy: ", "flops: ")) for line in tree["findings"])
    assert {trust["objective"] for trust in tree["trust"]} == {"clean_accuracy", "flops"}


def test_genes_are_printed_in_one_format(cli, two):
    code, out, err = cli("analyze", "genes", two[0], "--csv", "--json")
    assert (code, out) == (2, "")
    assert "cannot both be printed" in err


def test_a_wrong_method_is_named(cli, two):
    code, out, err = cli("analyze", "genes", two[0], "--method", "anova")
    assert (code, out) == (2, "")
    assert "Did you mean 'fanova'?" in err


def test_a_campaign_that_was_run(cli, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(REFERENCE, again, ignore=shutil.ignore_patterns("confirmed", "plots"))
    code, out, _ = cli("compare", REFERENCE, again, "--json")
    assert code == 0
    tree = json.loads(out)
    front = Campaign(REFERENCE).front
    assert [row["hypervolume"] for row in tree["campaigns"]] == pytest.approx([front.hypervolume()] * 2)
    assert [row["share"] for row in tree["campaigns"]] == [0.5, 0.5]
    assert tree["settings"] == []
    assert any("have the same settings and seed" in note for note in tree["notes"])
    _, out, _ = cli("analyze", "genes", REFERENCE, "--csv", "--out", tmp_path / "plots")
    rows = {row["gene"]: row for row in csv.DictReader(io.StringIO(out))}
    assert rows["training.loss.trades.beta"]["within"] == "training.loss=trades"
    assert max(rows, key=lambda gene: float(rows[gene]["robust_accuracy"])).startswith("architecture")
