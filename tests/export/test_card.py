"""The model card: front matter that parses, sections, and numbers that are the manifest's."""

import json
import re

import pytest
import yaml

from moosearch.export.card import model_card


@pytest.fixture(scope="module")
def manifest(exported):
    return json.loads((exported / "manifest.json").read_text())


@pytest.fixture(scope="module")
def card(exported):
    return (exported / "CARD.md").read_text()


def front_matter(card):
    match = re.match(r"\A---\n(.*?)\n---\n(.*)\Z", card, re.DOTALL)
    return yaml.safe_load(match[1]), match[2]


def test_front_matter_is_what_the_hub_reads(card, manifest):
    data, _ = front_matter(card)
    assert data["pipeline_tag"] == "image-classification"
    assert data["library_name"] == "pytorch"
    assert data["datasets"] == ["digits"]
    assert {"onnx", "safetensors", "int8", "adversarial-robustness"} <= set(data["tags"])
    (model,) = data["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == data["pipeline_tag"]
    assert {"name", "type"} <= result["dataset"].keys()
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values == {
        key.replace("_", " "): manifest["objectives"][key]["kept"]
        for key in ("clean_accuracy", "robust_accuracy")
    }
    assert all(metric["type"] in data["metrics"] for metric in result["metrics"])


def test_sections_are_those_of_a_model_card(card):
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == [
        "Model description",
        "Intended use",
        "Out-of-scope use",
        "How to use it",
        "Training data",
        "Training procedure",
        "Threat model",
        "Evaluation",
        "Evaluation of the quantized model",
        "Confirmation",
        "Limits and risks",
        "Latency and parity",
        "Environmental cost",
    ]


def test_numbers_come_with_intervals_and_what_they_were_measured_with(card, manifest):
    for key in ("clean_accuracy", "robust_accuracy"):
        entry = manifest["objectives"][key]
        low, high = entry["interval"]
        assert low < entry["kept"] < high
        assert f"{low:.4f} to {high:.4f}" in card
        assert entry["images"] == manifest["images"] == 360
    assert "moves every pixel by at most 0.1" in card
    assert "`pgd` (eps 0.1" in card
    worst = manifest["quantized"]["robust"]["robust_accuracy"]["worst_case"]
    assert f"| {worst['accuracy']:.4f} | {worst['interval'][0]:.4f} to {worst['interval'][1]:.4f} |" in card
    for name in ("train", "total"):
        assert f"{name} {manifest['seconds'][name]:,.1f} s" in card


def test_tables_are_rectangular_and_code_compiles(card):
    for block in re.findall(r"(?:^\|.*\|\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    programs = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(programs) == 3
    for program in programs:
        compile(program, "card", "exec")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert yaml.safe_load(recipe)["dataset"]["name"] == "digits"


def test_the_code_on_the_card_runs(exported, monkeypatch):
    monkeypatch.chdir(exported)
    monkeypatch.syspath_prepend(exported)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    for program in re.findall(r"```python\n(.*?)```", (exported / "CARD.md").read_text(), re.DOTALL):
        scope = {}
        exec(program, scope)
        assert scope["logits"].shape == (1, 10)


@pytest.mark.parametrize("name", ["a|b", "*bold*", "<script>", "[x](y)", "two\nlines", "`code`"])
def test_names_of_the_users_are_text(manifest, name):
    changed = manifest | {"output": {"classes": [name, "b"]}, "campaign": name}
    data, body = front_matter(model_card(changed))
    assert data["model-index"][0]["name"].startswith(name)
    (line,) = (line for line in body.splitlines() if line.startswith("- **Classes:**"))
    assert not re.search(r"(?<!\\)[*|<>`\[]", line.removeprefix("- **Classes:** "))


def test_what_is_not_there_is_not_told(manifest):
    bare = manifest | {"quantized": None, "latency": None, "threats": [], "genome": {}}
    bare["missing"] = {"network.py": "the network is odd."}
    data, body = front_matter(model_card(bare))
    assert "int8" not in data["tags"]
    assert "Evaluation of the quantized model" not in body
    assert "Latency was not measured." in body
    assert "nothing is claimed" in body
    assert "adversarial-robustness" not in data["tags"]
    assert "threat model says" not in body
    assert "one recipe, trained by moosearch without a search" in body
    assert "this candidate among others" not in body
    assert "There is no `network.py`: the network is odd." in body


def test_several_trainings_are_told_apart_from_the_one_that_is_here(manifest):
    entry = manifest["objectives"]["clean_accuracy"] | {"value": 0.8, "std": 0.05, "kept": 0.75}
    changed = manifest | {"objectives": manifest["objectives"] | {"clean_accuracy": entry}}
    assert "| clean accuracy | 0.75 | " in model_card(changed)
    assert "| 0.8000 ± 0.0500 |" in model_card(changed)
    assert "over trainings" in model_card(changed)
    assert "over trainings" not in model_card(manifest)


def test_it_says_how_it_was_trained_and_whether_it_is_on_the_front(manifest):
    assert "It is on the Pareto front" in model_card(manifest)
    attack = manifest["spec"]["training"]["attack"]["name"]
    assert f"on images that `{attack}` perturbs" in model_card(manifest)
    training = manifest["spec"]["training"] | {"attack": {"name": "none"}, "checkpoint": "last"}
    plain = manifest | {"on_front": False, "spec": manifest["spec"] | {"training": training}}
    card = model_card(plain)
    assert "**not** one of its Pareto front" in card
    assert "on images as they are" in card
    assert "epoch of these weights" not in card


def test_files_of_the_users_are_named_without_their_folders(manifest):
    dataset = {"name": "npz", "path": "/home/somebody/secret/x.npz", "auxiliary": []}
    spec = manifest["spec"] | {"dataset": dataset}
    genome = {"dataset.path": "/home/somebody/secret/x.npz"}
    card = model_card(manifest | {"spec": spec, "genome": genome})
    assert "somebody" not in card
    data, body = front_matter(card)
    assert "datasets" not in data  # the hub has none of this name
    assert data["model-index"][0]["results"][0]["dataset"]["name"] == "x.npz"
    assert "The training split of `x.npz`" in body


def test_a_mean_over_attacks_is_not_called_the_worst_case(manifest):
    entry = manifest["objectives"]["robust_accuracy"]
    assert entry["over"] == "worst_case"
    mean = manifest | {"objectives": {"robust_accuracy": entry | {"over": "mean", "interval": None}}}
    older = {k: v for k, v in entry.items() if k != "over"}
    for objectives, said in (
        (mean["objectives"], "the mean over each of: "),
        ({"robust_accuracy": older}, "the worst case of: "),
    ):
        line = next(
            row
            for row in model_card(manifest | {"objectives": objectives}).splitlines()
            if row.startswith("- robust accuracy, on ")
        )
        assert said in line
