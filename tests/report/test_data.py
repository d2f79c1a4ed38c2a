import csv
import json
import math

import pytest
from synthetic import HOSTILE, PLAIN, REFERENCE, evaluations, space, synthetic

from moosearch.api.campaign import Campaign
from moosearch.campaign.status import read_status
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto import Front
from moosearch.report import data as read
from moosearch.report.campaign_page import campaign_data, campaign_page, threats
from moosearch.report.page import document
from moosearch.space.genes import Choice, Integer, Real


def test_columns_say_what_the_ledger_says(campaign):
    found = read.candidates(campaign.evaluations, campaign.header.objectives, space().genes())
    genes = {gene["path"]: gene for gene in found["genes"]}
    members = {e.candidate.id for e in campaign.front}
    for row, e in enumerate(campaign.evaluations):
        assert found["id"][row] == e.candidate.id
        assert found["generation"][row] == e.generation
        state = found["states"][found["state"][row]]
        assert (state == "failed") == (e.status == "failed")
        assert (state == "front") == (e.candidate.id in members)
        assert (state == "infeasible") == (e.status == "complete" and not e.feasible)
        for key, column in found["values"].items():
            assert column[row] == {**e.objectives, **e.metrics}.get(key)
        for path, gene in genes.items():
            value = gene["values"][row]
            if path not in e.candidate.genome:
                assert value is None
            elif "labels" in gene:
                assert gene["labels"][value] == str(e.candidate.genome[path]).replace("True", "true").replace(
                    "False", "false"
                )
            else:
                assert value == pytest.approx(e.candidate.genome[path], rel=1e-5)
        assert found["seconds"]["total"][row] == e.seconds["total"]
    assert [found["id"][row] for row in found["front"]] == [e.candidate.id for e in campaign.front]
    assert set(found["state"]) == {0, 1, 2, 3}
    kind, reason = next(iter(found["errors"].values()))
    assert (kind, reason) == ("memory", f"RuntimeError: out of memory {HOSTILE}")


def test_genes_have_the_bounds_and_labels_of_the_space():
    assert read.gene_column("a", "a", [0.1, None, 0.2], Real(0.01, 1.0, log=True)) == {
        "path": "a",
        "name": "a",
        "low": 0.01,
        "high": 1.0,
        "log": True,
        "values": [0.1, None, 0.2],
    }
    assert read.gene_column("a", "a", [2, 9], Integer(1, 4))["high"] == 9  # of an extended or other space
    found = read.gene_column("a", "a", ["x", None, "z"], Choice(("y", "x"), ("y", "x")))
    assert (found["labels"], found["values"]) == (["y", "x", "z"], [1, None, 2])
    assert read.gene_column("a", "a", [True, False], None)["labels"] == ["true", "false"]
    assert read.gene_column("a", "a", [1, 2.5], None)["high"] == 2.5
    assert read.gene_column("a", "a", [2, 1], Choice((1, 2), (1, 2)))["values"] == [1, 0]


def test_a_stored_space_is_read_again(campaign):
    tree, _ = read.settings(campaign.folder)
    assert read.space_genes(tree) == space().genes()
    assert read.space_genes({"candidate": {"a": {"real": [2, 1]}}}) == {}
    assert read.space_genes({}) == {}


def test_numbers_that_json_has_not_are_left_out():
    assert read.short(math.inf) is None
    with pytest.raises(ValueError, match="JSON"):
        document("a", [], {"x": math.nan})


def test_passwords_are_not_in_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "importance", lambda *_: None)
    campaign = synthetic(tmp_path / "campaign", 8)
    text = campaign.folder.spec.read_text()
    extra = "\n  evaluator: {env_vars: {KEY: s3cret}, address: 'redis://me:s3cret@host/1'}"
    campaign.folder.spec.write_text(text.replace("\n  objectives:", f"{extra}\n  objectives:"))
    assert "s3cret" in campaign.folder.spec.read_text()
    page = campaign_page(Campaign(campaign.folder.root))
    assert "s3cret" not in page
    assert "redis://me:***@host/1" in page


def test_curves_are_read_and_others_are_none(tmp_path):
    path = tmp_path / "robustness.csv"
    head = "candidate,images_of,images,attack,norm,eps,curve,steps,correct,accuracy,low,high\n"
    rows = (
        'a,mnist val,10,"pgd(steps=50)",linf,0.0,eps,50,9,0.9,0.6,1.0\n'
        'a,mnist val,10,"pgd(steps=50)",linf,0.1,eps,50,5,0.5,0.2,0.8\n'
        'a,mnist val,10,"pgd(steps=50)",linf,0.1,steps,1,8,0.8,0.5,0.9\n'
    )
    path.write_text(head + rows)
    by_radius, by_steps = read.curves(path)
    assert (by_radius["x"], by_radius["accuracy"], by_radius["eps"]) == ([0, 0.1], [0.9, 0.5], None)
    assert (by_steps["x"], by_steps["low"], by_steps["eps"]) == ([1], [0.5], 0.1)
    assert by_steps["said"] == "pgd(steps=50), linf, 10 images of mnist val"
    for damaged in (head + rows.replace("0.9", "much"), "a,b\n1,2\n", "\0"):
        path.write_text(damaged)
        assert read.curves(path) == []
    assert read.curves(tmp_path / "none.csv") == []


def test_pictures_are_embedded_up_to_a_size(tmp_path):
    for name, size in (("gallery-a", 10), ("gallery-b", 5000), ("gallery-c", 20)):
        (tmp_path / f"{name}.png").write_bytes(read.PNG + bytes(size))
    (tmp_path / "gallery-d.png").write_text("<svg onload=alert(1)>")
    found, left = read.pictures(tmp_path, most=100)
    assert [each["candidate"] for each in found] == ["a", "c"]
    assert found[0]["source"].startswith("data:image/png;base64,iVBOR")
    assert left == ["gallery-b.png"]


def test_data_ends_no_script_and_says_the_same():
    data = {"a": "</script><!--<script>\u2028", "b": [1, 0.5, None]}
    page = document(HOSTILE, [], data)
    stored = page.split('<script id="data" type="application/json">')[1].split("</script>")[0]
    assert json.loads(stored) == data
    assert "<" not in stored
    assert HOSTILE not in page


def test_a_page_of_nothing_yet(tmp_path, tiny):
    header_only = synthetic(tmp_path / "campaign", 0)
    data = campaign_data(header_only, read_status(header_only), {})
    assert data["decisions"] == []
    assert data["importance"] is None
    page = campaign_page(header_only)
    assert "There are no robustness curves yet" in page
    assert "moosearch confirm" in page


def test_threats_in_words():
    objective = {"name": "r", "label": "l2", "attacks": ["pgd20", {"name": "square"}]}
    assert threats({"campaign": {"objectives": [objective]}}) == ["l2 under pgd20 and square"]
    assert threats({"campaign": {"objectives": 3}}) == []


def test_costs_by_part_and_machine():
    made = evaluations(10, 5)
    found = read.costs(made)
    assert found["parts"]["total"] == pytest.approx(sum(e.seconds["total"] for e in made))
    assert found["nodes"] == [["node", "cpu", 10, found["parts"]["total"]]]


def test_intervals_and_deviations_have_columns():
    import dataclasses

    first, second = evaluations(2, 2)
    replicates = [{"a": 0.1, "b": 1.0}, {"a": 0.3, "b": 1.0}]
    first = dataclasses.replace(first, objectives={"a": 0.2}, replicates=replicates)
    second = dataclasses.replace(second, objectives={"a": 0.4}, intervals={"a": (0.3, 0.5)})
    found = read.candidates([first, second], [ObjectiveInfo("a", "maximize", "fraction", 1.0, 0.0)], {})
    assert found["deviations"]["a"] == [pytest.approx(0.141421), None]
    assert found["intervals"]["a"] == [[None, 0.3], [None, 0.5]]
    assert Front.of([first, second], [ObjectiveInfo("a", "maximize", "", 1.0, 0.0)]).members == (second,)


def test_the_confirmation_is_that_of_the_table(confirmed_page):
    campaign = Campaign(REFERENCE)
    found = read.confirmation(campaign)
    with (REFERENCE / "confirmed.csv").open(encoding="utf-8", newline="") as stream:
        table = {row["id"]: row for row in csv.DictReader(stream)}
    assert {member["id"] for member in found["members"]} == table.keys()
    for member in found["members"]:
        row = table[member["id"]]
        mean, std = member["values"]["robust_accuracy"]
        assert mean == pytest.approx(float(row["robust_accuracy_mean"]), rel=1e-5)
        assert std == pytest.approx(float(row["robust_accuracy_std"]), rel=1e-5)
        assert str(member["standing"]["stays"]) == row["stays"]
        assert {name for name, _, _ in member["checks"]} == set(row["failed_checks"].split())


def test_the_space_of_the_tests_is_one_of_each_kind():
    assert {type(gene) for gene in space().genes().values()} == {Real, Integer, Choice}
    assert PLAIN["note"]["choice"][1] == HOSTILE
