import dataclasses

import pytest
import torch

from moosearch.attacks.gradient import NoAttack, Pgd
from moosearch.attacks.multitask import Mixed, Mta
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.losses.classification import Trades
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, to_tree
from moosearch.training import CandidateSpec
from moosearch.training.spec import OptimizerSpec, TrainingSpec

TREE = {"dataset": {"name": "digits"}, "architecture": {"name": "small_cnn"}}


def candidate(**training):
    return build(CandidateSpec, TREE | {"training": training})


@pytest.mark.parametrize(("attack", "name"), [(Mixed(), "mixed"), (Mta(), "mta")])
def test_attack_on_several_tasks_without_auxiliary_tasks_is_refused_by_field(attack, name):
    with pytest.raises(SpecError, match=r"dataset\.auxiliary") as caught:
        CandidateSpec(Digits(), SmallCnn(), TrainingSpec(attack=attack))
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize("attack", [Mixed(), Mta(), Pgd(), NoAttack()], ids=lambda a: type(a).__name__)
def test_every_attack_is_accepted_with_auxiliary_tasks(attack):
    spec = CandidateSpec(Digits(auxiliary=("odd_even",)), SmallCnn(), TrainingSpec(attack=attack))
    assert spec.training.attack == attack


@pytest.mark.parametrize("attack", [Pgd(), NoAttack()], ids=lambda a: type(a).__name__)
def test_attack_on_one_task_needs_no_auxiliary_ones(attack):
    assert CandidateSpec(Digits(), SmallCnn(), TrainingSpec(attack=attack)).training.attack == attack


def test_plain_data_becomes_the_candidate_that_it_describes():
    spec = build(
        CandidateSpec,
        {
            "dataset": {"name": "digits", "auxiliary": ["odd_even"]},
            "architecture": {"name": "lenet", "width": 0.5},
            "training": {
                "epochs": 3,
                "attack": {"name": "mixed", "eps": "8/255", "alpha0_min": 0.7},
                "loss": {"name": "trades", "beta": 4},
                "optimizer": {"kind": "adamw", "lr": 1e-3},
            },
        },
    )
    assert spec == CandidateSpec(
        Digits(auxiliary=("odd_even",)),
        LeNet(width=0.5),
        TrainingSpec(
            epochs=3,
            attack=Mixed(eps=8 / 255, alpha0_min=0.7),
            loss=Trades(beta=4.0),
            optimizer=OptimizerSpec(kind="adamw", lr=1e-3),
        ),
    )


def test_candidate_round_trips_through_plain_data_with_every_default_written():
    spec = candidate(attack={"name": "fgsm", "eps": 0.2})
    tree = to_tree(spec, CandidateSpec)
    assert build(CandidateSpec, tree) == spec
    expected = dataclasses.asdict(OptimizerSpec()) | {"milestones": [0.75, 0.9]}
    assert tree["training"]["optimizer"] == expected
    assert tree["training"]["attack"].items() >= {"name": "fgsm", "eps": 0.2, "norm": "linf"}.items()


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"epochs": 0}, "training.epochs"),
        ({"batch_size": 1}, "training.batch_size"),
        ({"auxiliary_weight": -0.1}, "training.auxiliary_weight"),
        ({"optimizer": {"momentum": 1}}, "training.optimizer.momentum"),
        ({"optimizer": {"milestones": [0.9, 0.5]}}, "training.optimizer: milestones"),
        ({"validation": {"every": -1}}, "training.validation.every"),
        ({"average": 1}, "training.average"),
        ({"optimizer": {"lr": 0}}, "training.optimizer.lr"),
        ({"optimizer": {"lr": float("nan")}}, "training.optimizer.lr"),
        ({"optimizer": {"weight_decay": -1e-4}}, "training.optimizer.weight_decay"),
        ({"optimizer": {"schedule": "cosin"}}, "training.optimizer.schedule"),
        ({"optimizer": {"kind": "adam"}}, "training.optimizer.kind"),
        ({"attack": {"name": "pgd", "steps": 0}}, "training.attack.steps"),
        ({"attack": {"name": "pgd", "eps": -0.1}}, "training.attack.eps"),
        ({"attack": {"name": "pgd", "objective": "logit"}}, "training.attack.objective"),
        ({"attack": {"name": "mixed", "alpha0_min": 0.49}}, "training.attack.alpha0_min"),
        ({"attack": {"name": "mixed", "alpha0_min": 1.0}}, "training.attack.alpha0_min"),
        ({"loss": {"name": "trades", "beta": 0}}, "training.loss.beta"),
    ],
    ids=str,
)
def test_value_out_of_range_is_refused_at_its_place(training, field):
    with pytest.raises(SpecError, match=rf"{field}: got"):
        candidate(**training)


@pytest.mark.parametrize("alpha0_min", [0.5, 0.999])
def test_alpha0_min_may_be_all_of_the_half_open_interval(alpha0_min):
    tree = TREE | {
        "dataset": {"name": "digits", "auxiliary": ["odd_even"]},
        "training": {"attack": {"name": "mixed", "alpha0_min": alpha0_min}},
    }
    assert build(CandidateSpec, tree).training.attack.alpha0_min == alpha0_min


def test_combination_refused_in_a_file_says_which_field_to_fill():
    with pytest.raises(SpecError, match=r"dataset\.auxiliary is empty"):
        candidate(attack={"name": "mixed"})


def test_network_has_a_head_a_task_and_comes_from_the_seed():
    spec = CandidateSpec(Digits(auxiliary=("prime_composite", "odd_even")), SmallCnn(width=4))
    net, twin, other = spec.build_network(1), spec.build_network(1), spec.build_network(2)
    assert [head.out_features for head in net.heads] == [10, 3, 2]
    assert torch.equal(net.heads[0].weight, twin.heads[0].weight)
    assert not torch.equal(net.heads[0].weight, other.heads[0].weight)


def test_images_too_small_for_the_architecture_are_refused():
    with pytest.raises(SpecError, match="pixels are too few"):
        CandidateSpec(Digits(), SmallCnn(depth=8)).build_network(0)
