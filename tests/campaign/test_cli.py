"""The command line as a user meets it: every verb, its output, its errors and exit codes."""

import io
import json
import math
import shutil
import statistics

import pandas as pd
import pytest
from jsonschema import Draft202012Validator, ValidationError

from moosearch.cli.app import overrides
from moosearch.errors import Place
from moosearch.evaluators.ray_pool import RayPool
from moosearch.plan.plan import make_plan
from moosearch.space.files import Document, override


@pytest.mark.usefixtures("without_programs")
def test_launch_inspect_export(cli, tiny_file, tmp_path):
    folder = tmp_path / "campaign"
    code, out, _ = cli("search", tiny_file, "--out", folder)
    assert code == 0
    assert "generation 2/2: 8 candidates, 0 failed" in out
    assert "hypervolume" in out
    assert len(pd.read_csv(folder / "candidates.csv")) == 8
    assert {p.name for p in (folder / "plots").glob("*.png")} == {
        "front.png",
        "parallel.png",
        "hypervolume.png",
    }
    history = pd.read_csv(folder / "hypervolume.csv")
    assert history["generation"].tolist() == [1, 2]
    assert history["hypervolume"].is_monotonic_increasing

    code, out, _ = cli("status", folder)
    assert code == 0
    assert "finished; generation 2/2, 8/8 candidates done, 0 unfinished, 0 failed" in out

    code, out, _ = cli("front", folder, "--csv")
    front = pd.read_csv(io.StringIO(out))
    assert front["id"].is_unique
    assert set(front["id"]) <= set(pd.read_csv(folder / "candidates.csv")["id"])

    code, out, _ = cli("export", folder, "--pick", "best:clean_accuracy", "--to", tmp_path / "model")
    assert code == 0
    manifest = json.loads((tmp_path / "model/manifest.json").read_text())
    assert manifest["objectives"]["clean_accuracy"]["value"] == front["clean_accuracy"].max()

    code, out, _ = cli("search", tiny_file, "--out", folder)
    assert code == 0
    assert "8 of them known already" in out

    code, _, err = cli("search", tiny_file, "--out", folder, "--set", "campaign.seed=4")
    assert code == 2
    assert "campaign.seed is 3 there and 4 here" in err


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_checks", "without_programs")
def test_confirm_front_status_export(cli, finished, tmp_path):
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    before = (folder / "front.csv").read_bytes()
    rules = ["--pick", "knee", "--pick", "best:clean_accuracy"]
    code, out, _ = cli("confirm", folder, *rules, "--seeds", "2", "--attacks", "fgsm, pgd5", "--images", "30")
    assert code == 0
    assert "confirmation by 4 trainings; 1 at a time" in out
    assert "members confirmed by 4 trainings, 0 failed" in out
    paths = sorted((folder / "confirmed").glob("*/*.json"))
    stored = {(path.parent.name, int(path.stem)): json.loads(path.read_text()) for path in paths}
    members = {member for member, _ in stored}
    assert {number for _, number in stored} == {1, 2}
    assert len(stored) == 2 * len(members)

    table = pd.read_csv(folder / "confirmed.csv").set_index("id")
    assert set(table.index) == members
    front = pd.read_csv(folder / "front.csv").set_index("id")
    for member in members:
        for key in ("clean_accuracy", "robust_accuracy"):
            values = [stored[member, number]["objectives"][key] for number in (1, 2)]
            mean = sum(values) / 2
            assert table.loc[member, f"{key}_mean"] == pytest.approx(mean)
            std = math.sqrt(sum((value - mean) ** 2 for value in values))
            assert table.loc[member, f"{key}_std"] == pytest.approx(std)
            assert [table.loc[member, f"{key}_seed{number}"] for number in (1, 2)] == values
            assert table.loc[member, key] == front.loc[member, key]
        for attack in ("fgsm", "pgd5"):
            values = [
                stored[member, n]["judgment"]["threats"][0]["attacks"][attack]["accuracy"] for n in (1, 2)
            ]
            assert table.loc[member, f"attack_{attack}_mean"] == pytest.approx(statistics.fmean(values))
    assert (folder / "front.csv").read_bytes() == before
    assert (folder / "plots/confirmation.png").stat().st_size > 5000

    code, out, _ = cli("front", folder)
    assert code == 0
    for member in members:
        assert f"{table.loc[member, 'robust_accuracy_mean']:.4g} ±" in out
    code, out, _ = cli("front", folder, "--json")
    shown = {row["id"]: row["confirmed"] for row in json.loads(out)}
    assert {identity for identity, found in shown.items() if found} == members
    code, out, _ = cli("status", folder)
    assert "finished; generation 2/2" in out
    assert "confirmation: finished; 4/4 trainings done, 0 failed" in out

    code, _, _ = cli("export", folder, "--to", tmp_path / "model")
    assert code == 0
    manifest = json.loads((tmp_path / "model/manifest.json").read_text())
    values = manifest["confirmation"]["values"]
    mean = table.loc[manifest["candidate"], "robust_accuracy_mean"]
    assert values["robust_accuracy"]["mean"] == pytest.approx(mean)
    low, high = values["robust_accuracy"]["interval"]
    assert low <= mean <= high
    assert manifest["confirmation"]["threats"][0]["attacks"]["pgd5"]["steps"] == 5
    card = (tmp_path / "model/CARD.md").read_text()
    assert f"| robust accuracy | {mean:.4f} |" in card
    assert "moves every pixel by at most 0.1" in card


def test_front_formats(cli, finished):
    root = finished.folder.root
    code, out, _ = cli("front", root)
    assert code == 0
    assert finished.front.knee().candidate.id + "*" in out
    code, out, _ = cli("front", root, "--json")
    rows = json.loads(out)
    assert [row["id"] for row in rows] == [e.candidate.id for e in finished.front]
    assert rows[0]["objectives"].keys() == {"clean_accuracy", "robust_accuracy", "flops"}
    code, out, _ = cli("front", root, "--json", "--pick", "best:flops")
    assert json.loads(out)[0]["objectives"]["flops"] == min(r["objectives"]["flops"] for r in rows)


def test_validate_tells_what_is_in_the_space(cli, tiny_file):
    code, out, _ = cli("validate", tiny_file, "--set", "campaign.constraints=[parameters <= 1e6]")
    assert code == 0
    assert "is valid: 7 genes" in out
    assert "training.attack.mixed.alpha0_min" in out
    assert "constraint: parameters <= 1000000" in out


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("campaign.budgt.population=8", ["campaign.budgt", "Did you mean 'budget'?"]),
        ("campaign.budget.population=0", ["campaign.budget.population", "got 0", "at least 1"]),
        ("campaign.objectives=[clean_acuracy]", ["Did you mean 'clean_accuracy'?"]),
        ("campaign.objectives=[]", ["at least one objective"]),
        ("campaign.objectives=[flops, flops]", ["two objectives are called 'flops'", "label"]),
        ("campaign.constraints=[flop <= 1]", ["campaign.constraints.0", "Did you mean 'flops'?"]),
        ("campaign.constraints=[flops < 1]", ["NAME <= NUMBER"]),
        ("campaign.constraints=[flops <= many]", ["got 'many'", "a number"]),
        ("campaign.reference_point={flops: -1}", ["reference_point.flops: got -1", "above the ideal 0"]),
        ("campaign.reference_point={flop: 1}", ["Did you mean 'flops'?"]),
        ("campaign.reference_point.flops=0", ["got 0, expected a value above the ideal 0"]),
        ("campaign.objectives=[{name: flops, label: status}]", ["objectives.0.label", "status"]),
        ("campaign.objectives=[{name: flops, label: latency}]", ["no other objective's name"]),
        (
            "campaign={objectives: [{name: robust_accuracy, label: strong}], "
            "constraints: [robust_accuracy >= 0.1]}",
            ["which robust_accuracy?", "strong"],
        ),
        ("candidate.architecture={name: small_cnn, width: 2000000000}", ["cannot be built"]),
        (
            "candidate.architecture={name: small_cnn, width: 20000000000}",
            ["got 20000000000", "at most 2147483647"],
        ),
        ("candidate.training.epochs={integer: [1, 99999999999]}", ["below 2147483648"]),
        ("campaign.algorithm=nsga3", ["Did you mean 'nsga2'?"]),
        ("campaign.algorithm=grid", ["grid cannot list real genes"]),
        ("campaign.evaluator={name: ray, workrs: 2}", ["Did you mean 'workers'?"]),
        ("candidate.dataset.name=digit", ["no dataset is called 'digit'", "Did you mean 'digits'?"]),
        ("candidate.dataset.auxiliary=[]", ["'mixed' needs auxiliary tasks", "dataset.auxiliary"]),
        ("candidate.dataset.auxiliary=[odd_evn]", ["Did you mean 'odd_even'?"]),
        ("candidate.architecture.small_cnn.depth={integer: [2, 9]}", ["8 pixels", "depth=9"]),
        ("candidate.architecture.small_cnn.width={real: [2, 9]}", ["use `integer`"]),
        ("candidate.training.attack.mixed.alpha0_min={real: [0.2, 0.9]}", ["got 0.2", "at least 0.5"]),
        ("candidate.training.attack.mxd.alpha0_min=0.6", ["no option 'mxd'"]),
        ("candidate.training.loss=trade", ["Did you mean 'trades'?"]),
        ("candidate.training.optimizer.lr=fast", ["got 'fast'", "8/255"]),
        ("candidate.training.optimizer.schedule=cosin", ["Did you mean 'cosine'?"]),
        ("imports=[no_such_module]", ["no_such_module", "cannot be imported"]),
        ("nonsense", ["PATH=VALUE"]),
    ],
)
def test_bad_input_is_one_line_that_helps(cli, tiny_file, tmp_path, assignment, words):
    code, out, err = cli("search", tiny_file, "--out", tmp_path / "x", "--set", assignment)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "x").exists()


def test_errors_name_file_and_line(cli, tiny_file):
    text = tiny_file.read_text().replace("epochs: 1", "epochs: none")
    tiny_file.write_text(text)
    line = text.splitlines().index("    epochs: none") + 1
    code, _, err = cli("validate", tiny_file)
    assert code == 2
    assert f"{tiny_file}:{line}: candidate.training.epochs: got 'none'" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["validate", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["validate"], "name a search space FILE"),
        (["front", "nowhere"], "no campaign here"),
        (["status", "nowhere"], "no campaign here"),
        (["resume", "nowhere"], "no campaign here"),
        (["export", "nowhere"], "no campaign here"),
        (["list", "lossess"], "Did you mean 'losses'?"),
    ],
)
def test_missing_things_are_named(cli, arguments, words):
    code, _, err = cli(*arguments)
    assert code == 2
    assert words in err


def test_unknown_rule_and_candidate(cli, finished):
    code, _, err = cli("export", finished.folder.root, "--pick", "best:flps")
    assert code == 2
    assert "Did you mean 'flops'?" in err
    code, _, err = cli("export", finished.folder.root, "--candidate", "zzz")
    assert code == 2


def test_user_text_is_not_markup(cli, tiny_file):
    choice = "{choice: [{name: trades, label: '[/red]'}, cross_entropy]}"
    code, out, _ = cli("validate", tiny_file, "--set", f"candidate.training.loss={choice}")
    assert code == 0
    assert "[/red] | cross_entropy" in out


def test_pick_and_candidate_exclude_each_other(cli, finished):
    root = finished.folder.root
    code, _, err = cli("export", root, "--pick", "knee", "--candidate", "abc")
    assert code == 2
    assert "not both" in err
    code, _, err = cli("export", root, "--candidate", "")
    assert code == 2


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"x" * 200])
@pytest.mark.parametrize("verb", ["status", "front", "resume", "export"])
def test_a_broken_study_is_one_line(cli, finished, tmp_path, verb, content):
    shutil.copy(finished.folder.spec, tmp_path / "campaign.yaml")
    (tmp_path / "study.db").write_bytes(content)
    if content == b"" and verb == "resume":
        pytest.skip("an empty database is a campaign that was killed before its first candidate")
    code, _, err = cli(verb, tmp_path)
    assert code == 2
    assert err.count("\n") == 1


def test_serial_has_one_worker(cli, tiny_file):
    code, _, err = cli("search", tiny_file, "--evaluator", "serial", "--workers", "2")
    assert code == 2
    assert "serial has one worker" in err


def test_list_names_everything(cli):
    code, out, _ = cli("list")
    assert code == 0
    for name in ("digits", "small_cnn", "lenet", "small_resnet", "pgd", "mixed", "trades", "nsga2"):
        assert name in out
    code, out, _ = cli("list", "losses")
    assert "beta: 6.0" in out
    assert "nsga2" not in out


def test_schema_accepts_the_shipped_spaces_and_refuses_wrong_ones(cli, tiny):
    code, out, _ = cli("validate", "--schema")
    assert code == 0
    schema = json.loads(out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(tiny())
    wrong = tiny()
    wrong["candidate"]["training"]["epochs"] = {"real": [1, 2]}
    with pytest.raises(ValidationError):
        validator.validate(wrong)
    wrong = tiny()
    wrong["candidate"]["training"]["loss"] = {"name": "trades", "betta": 1}
    with pytest.raises(ValidationError):
        validator.validate(wrong)


def test_workers_choose_ray_where_the_file_names_no_evaluator(tiny):
    data = tiny() | {"campaign": {"name": "t"}}
    given = overrides([], None, 2, None)
    plan = make_plan(override(Document(data, Place()), given))
    assert plan.campaign.evaluator == RayPool(workers=2)
