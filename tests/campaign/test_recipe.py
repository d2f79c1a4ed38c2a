"""`moosearch train`: one recipe of a space, trained as a campaign of a single candidate."""

import pandas as pd
import pytest

import moosearch
from moosearch.errors import Place, SpecError
from moosearch.plan.plan import make_plan
from moosearch.plan.single import single
from moosearch.space.files import Document


def recipe(tiny, *assignments):
    """The filled candidate spec."""
    return single(Document(tiny(), Place("tiny.yaml")), assignments).data["candidate"]


def test_genes_that_are_not_named_take_their_first_option_or_middle_value(tiny):
    spec = recipe(tiny)
    assert spec["architecture"]["name"] == "small_cnn"
    assert spec["architecture"]["width"] == 6  # of 2, 4, 6, 8: the middle is between 4 and 6
    assert spec["training"]["loss"]["name"] == "cross_entropy"
    assert spec["training"]["optimizer"]["lr"] == pytest.approx((0.01 * 0.3) ** 0.5, rel=1e-3)


def test_named_genes_take_their_values(tiny):
    spec = recipe(
        tiny,
        "training.attack=mixed",
        "candidate.training.attack.mixed.alpha0_min=4/5",
        "training.loss=trades",
        "training.optimizer.lr=0.1",
        "training.epochs=3",
        "candidate.training.loss.trades={name: trades, beta: 2}",
    )
    assert spec["training"]["attack"] | {"name": "mixed", "alpha0_min": 0.8} == spec["training"]["attack"]
    assert spec["training"]["loss"] == {"name": "trades", "beta": 2}
    assert spec["training"]["optimizer"]["lr"] == 0.1
    assert spec["training"]["epochs"] == 3


def test_a_mapping_takes_the_place_of_a_gene(tiny):
    spec = recipe(tiny, "training.attack={name: pgd, eps: 0.2}", "dataset.auxiliary=[prime_composite]")
    assert (spec["training"]["attack"]["name"], spec["training"]["attack"]["eps"]) == ("pgd", 0.2)
    with pytest.raises(SpecError, match="odd_evem"):
        recipe(tiny, "training.attack={name: pgd}", "candidate.dataset.auxiliary=[odd_evem]")


def test_recipe_is_a_space_of_one_candidate_named_after_it(tiny):
    plan = make_plan(single(Document(tiny() | {"campaign": {"name": "tiny"}}, Place()), []))
    assert plan.space.size == 1
    assert plan.campaign.budget.population * plan.campaign.budget.generations == 1
    assert plan.campaign.name == f"tiny-{plan.space.candidate({}).id}"
    assert plan.campaign.keep == "all"


@pytest.mark.rotated(3)
@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.loss=trade", "trades"),
        ("training.los=trades", "no parameter 'los'"),
        ("training.optimizer.lr=3", "log_real"),
        ("training.optimizer.lr=fast", "a number"),
        ("architecture.small_cnn.width=3", "integer"),
        ("architecture.small_cnn.width=2.5", "integer"),
        ("architecture.lenet.width=0.07", "not active"),
        ("training.loss", "PATH=VALUE"),
        ("width=3", "architecture.lenet.width"),
        ("candidate.architecture.lenet.activation=silu", "choose architecture=lenet"),
        ("campaign.evaluator=ray", "train"),
        ("campaign.budget.population=3", "train"),
        ("candidate.training.epochz=3", "epochs"),
    ],
)
def test_wrong_values_are_refused_by_name(tiny, assignment, words):
    with pytest.raises(SpecError) as caught:
        make_plan(single(Document(tiny(), Place("tiny.yaml")), [assignment]))
    assert words in str(caught.value)
    assert assignment.partition("=")[0].removeprefix("candidate.") in str(caught.value)


def test_train_prints_every_epoch_and_stores_both_checkpoints(cli, tiny_file, tmp_path, without_programs):
    folder = tmp_path / "run"
    code, out, _ = cli(
        "train",
        tiny_file,
        "--out",
        folder,
        "--set",
        "training.attack=mixed",
        "--set",
        "candidate.training.epochs=4",
        "--set",
        "candidate.training.validation.images=100",
    )
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == [
        f"{number}/4" for number in range(1, 5)
    ]
    (evaluation,) = moosearch.Campaign(folder).evaluations
    assert evaluation.candidate.id in out
    history = pd.read_csv(next(folder.glob("models/*/training.csv")))
    best = history["validation_robust_accuracy"].idxmax() + 1
    assert evaluation.provenance["best_epoch"] == best
    stored = {path.name for path in folder.glob("models/*/*.safetensors")}
    assert stored == {"weights.safetensors"} | ({"last.safetensors"} if best < 4 else set())

    code, out, _ = cli("export", folder, "--to", tmp_path / "model")
    assert code == 0


def test_trained_recipe_is_the_candidate_of_a_search(tiny, finished, tmp_path):
    """The same spec has the same id, seed and results, in a search and alone."""
    evaluation = finished.front.best("clean_accuracy")
    data = tiny() | {"campaign": tiny()["campaign"] | {"name": "tiny"}}
    assignments = [f"{path}={value}" for path, value in evaluation.candidate.genome.items()]
    alone = moosearch.train(data, assignments=assignments, out=tmp_path / "alone")
    (again,) = alone.evaluations
    assert again.candidate.id == evaluation.candidate.id
    assert again.objectives == evaluation.objectives


def test_diverged_training_ends_with_3_and_its_reason(cli, tiny_file, tmp_path):
    code, out, _ = cli(
        "train", tiny_file, "--out", tmp_path / "run", "--set", "candidate.training.optimizer={lr: 1e20}"
    )
    assert code == 3
    assert "diverged" in out.splitlines()[-1]
