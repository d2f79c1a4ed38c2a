"""`front` and `decide` on the campaign that is kept in results/: whom they show, and what they refuse."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from moosearch.api.campaign import Campaign
from moosearch.cli.tables import doubts
from moosearch.errors import SpecError
from moosearch.judgment import MaskingCheck
from moosearch.pareto import Front

REFERENCE = Path(__file__).resolve().parents[1] / "older/digits"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy: `confirm` restores files before it looks at its options."""
    return Path(shutil.copytree(REFERENCE, tmp_path_factory.mktemp("reference") / "digits"))


@pytest.fixture(scope="module")
def front(folder):
    return Campaign(folder).front


def ids(text):
    return [row["id"] for row in csv.DictReader(io.StringIO(text))]


def members(front):
    return [member.candidate.id for member in front]


def test_bounds_thinning_and_a_rule_are_applied_in_this_order(cli, folder, front):
    bounds, epsilons, rule = "robust_accuracy>=0.7, flops<=3e5", "0.2", "asf:robust_accuracy=1"
    left = front.where(bounds)
    assert 1 < len(left.thin(epsilons)) < len(left) < len(front)
    steps = [
        (["--where", bounds], members(left)),
        (["--thin", epsilons], members(front.thin(epsilons))),
        (["--where", bounds, "--thin", epsilons], members(left.thin(epsilons))),
        (
            ["--where", bounds, "--thin", epsilons, "--pick", rule],
            [left.thin(epsilons).pick(rule).candidate.id],
        ),
        (["--pick", rule], [front.pick(rule).candidate.id]),
    ]
    for options, expected in steps:
        code, out, _ = cli("front", folder, *options, "--csv")
        assert (code, ids(out)) == (0, expected)
        code, out, _ = cli("front", folder, *options, "--json")
        assert [row["id"] for row in json.loads(out)] == expected


def test_the_table_says_how_many_of_the_front_it_shows(cli, folder, front):
    assert f"digits: front of {len(front)}, hypervolume" in cli("front", folder)[1]
    left = len(front.where("flops<=1e5"))
    _, out, _ = cli("front", folder, "--where", "flops<=1e5")
    assert f"digits: {left} of the front of {len(front)}, hypervolume" in out
    assert front.knee().candidate.id not in out


def test_any_candidate_is_named_by_id_but_not_beyond_bounds(cli, folder, front):
    other = next(e for e in Campaign(folder).evaluations if e.candidate.id not in members(front))
    code, out, _ = cli("front", folder, "--pick", other.candidate.id, "--csv")
    assert (code, ids(out)) == (0, [other.candidate.id])
    code, out, err = cli("front", folder, "--pick", other.candidate.id, "--where", "flops<=1e9")
    assert (code, out) == (2, "")
    assert err == (
        f"error: '{other.candidate.id}' is neither a rule nor a member's id of the front. Known: asf, "
        "best:clean_accuracy, best:flops, best:robust_accuracy, compromise, knee, lexicographic, "
        "pseudo_weights, tradeoff.\n"
    )


def test_decide_shows_whom_each_rule_chooses_and_why(cli, folder, front):
    code, out, err = cli("decide", folder)
    assert (code, err) == (0, "")
    assert f"digits: chosen from the {len(front)} members of the front" in out
    first, second = out.split("why", 1)
    words = " ".join(second.split())
    for choice in front.decisions():
        assert choice.evaluation.candidate.id in first
        assert f"{choice.rule} {choice.why}" in words
    assert "stays (" in first, "what was confirmed stands under the search's estimates"


def test_decide_in_json_has_the_choices_of_the_rules_given(cli, folder, front):
    rules = ["knee", "asf:clean_accuracy=1,robust_accuracy=2", "lexicographic:robust_accuracy~0.01,flops"]
    options = [word for rule in rules for word in ("--rule", rule)]
    code, out, _ = cli("decide", folder, *options, "--where", "clean_accuracy>=0.96", "--json")
    left = front.where("clean_accuracy>=0.96")
    assert code == 0
    assert json.loads(out) == [
        {
            "rule": rule,
            "id": left.pick(rule).candidate.id,
            "objectives": left.pick(rule).objectives,
            "why": left.choose(rule).why,
        }
        for rule in rules
    ]
    code, out, _ = cli("decide", folder, "--json")
    assert [row["rule"] for row in json.loads(out)] == [choice.rule for choice in front.decisions()]


def test_help_names_every_rule(cli):
    code, out, _ = cli("decide", "--help")
    assert code == 0
    for rule in ("tradeoff", "best:OBJECTIVE", "asf:OBJECTIVE=WEIGHT", "lexicographic:OBJECTIVE~TOLERANCE"):
        assert rule in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["front", "--pick", "asf:clean_acuracy=1"], "Did you mean 'clean_accuracy'?"),
        (
            ["front", "--where", "robust_accuracy>0.4"],
            "where: got 'robust_accuracy>0.4', expected NAME <= NUMBER",
        ),
        (["front", "--where", "robust_accuracy>=0.99"], "robust_accuracy >= 0.99 (reached: 0.7861)"),
        (["front", "--thin", "flop=1"], "thin: no objective is called 'flop'. Did you mean 'flops'?"),
        (["front", "--csv", "--json"], "--csv and --json cannot both be printed"),
        (["decide", "--rule", "tradeof"], "Did you mean 'tradeoff'?"),
        (["decide", "--where", "speed>=1"], "where: nothing is measured as 'speed'."),
        (["export", "--pick", "compromise:flops=-1"], "compromise.flops: got '-1', expected at least 0."),
        (["export", "--where", ""], "where: got ''"),
        (["confirm", "--pick", "asf:flop=1"], "asf: no objective is called 'flop'. Did you mean 'flops'?"),
        (["evaluate", "--pick", "asf:flop=1"], "asf: no objective is called 'flop'. Did you mean 'flops'?"),
    ],
)
def test_wrong_input_is_refused_in_one_line(cli, folder, arguments, message):
    command, *options = arguments
    code, out, err = cli(command, folder, *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_an_empty_front_chooses_nobody(cli, folder, monkeypatch):
    monkeypatch.setattr(Campaign, "front", property(lambda self: Front((), self.header.objectives)))
    code, out, err = cli("decide", folder)
    assert (code, out) == (2, "")
    assert err == "error: the front is empty: no candidate completed and kept the constraints.\n"


def test_an_export_is_chosen_by_rule_and_bounds(cli, folder, front, monkeypatch):
    chosen = []

    def export(files, header, evaluation, target, **options):
        chosen.append(evaluation.candidate.id)
        raise SpecError("enough")

    monkeypatch.setattr("moosearch.export.write.export_model", export)
    most = max(e.objectives["flops"] for e in front)
    least = min(e.objectives["flops"] for e in front)
    for options, expected in (
        (["--pick", "asf:clean_accuracy=1"], front.best("clean_accuracy")),
        (["--where", f"flops<={least}"], front.where(f"flops<={least}").knee()),
        (["--where", f"flops<={most}", "--pick", "best:flops"], front.best("flops")),
    ):
        cli("export", folder, *options)
        assert chosen.pop() == expected.candidate.id


def test_doubts_are_said_of_those_that_are_shown(folder):
    """The reference campaign has none: two members of it are given some."""
    confirmation = Campaign(folder).confirmation
    judgment = confirmation.members[0].judgment
    check = MaskingCheck("warned", passed=False, explanation="too weak")
    judgment = replace(judgment, threats=(replace(judgment.threats[0], checks=(check,)),))
    members = tuple(
        replace(member, complete=tuple(replace(each, judgment=judgment) for each in member.complete[:1]))
        for member in confirmation.members[:2]
    )
    first, second = (member.estimate.candidate.id for member in members)
    unreliable = replace(confirmation, members=members)
    meaning = "warned: too weak"
    assert doubts(unreliable) == [f"! {first} failed warned (1x)", f"! {second} failed warned (1x)", meaning]
    assert doubts(unreliable, {second, "other"}) == [f"! {second} failed warned (1x)", meaning]
    assert doubts(unreliable, set()) == []


def test_of_many_genes_the_terminal_shows_the_options(cli, folder, front, monkeypatch):
    differing = front.differing_genes
    words = [p for p in differing if any(isinstance(e.candidate.genome.get(p), str) for e in front)]
    assert 0 < len(words) < len(differing)
    _, out, _ = cli("front", folder)
    assert "more genes differ" not in out
    monkeypatch.setattr("moosearch.cli.tables.MANY", len(differing) - 1)
    _, out, _ = cli("front", folder)
    assert f"{len(differing) - len(words)} more genes differ, in numbers: --csv has them" in out
    for member in front:
        for path in differing:
            value = member.candidate.genome.get(path)
            if isinstance(value, float):
                assert f"{path.rpartition('.')[2]}={value}" not in out
