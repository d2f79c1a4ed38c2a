"""Layers that only mask gradients are found out and broken; our own defenses are judged for what they are."""

import pytest
import torch
from torch import nn

from moosearch.attacks import Threat, named_attacks
from moosearch.attacks.gradient import Pgd
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.judging import judge, masking, measure
from moosearch.judging.masking import checks
from moosearch.models import DefenseSpec, RobustNet
from moosearch.models.defenses.squeezing import BitDepth
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build
from moosearch.seeding import seeded_torch
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

TASKS = Digits().tasks
THREAT = Threat("linf", 0.15)
SUITE = "pgd20, bpda, {name: square, queries: 300}"
BIT, MEDIAN, NOISE = "bit_depth", "median_filter", "noise"


class Steps(nn.Module):
    """A third party's fine staircase: nearly the image, and no gradient."""

    def forward(self, x):
        return (x * 60).floor() / 60


class Ripples(nn.Module):
    """A third party's smooth staircase, whose gradient points anywhere."""

    def forward(self, x):
        return x + 0.02 * torch.sin(6000 * x)


THIRD = {
    Steps: {"zero_gradient"},
    Ripples: {"flat_loss"},
}


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def trained(digits):
    """Return a maker of networks with input defenses, trained adversarially; each is trained once."""
    done = {}

    def make(*defenses):
        key = str(defenses)
        if key not in done:
            training = TrainingSpec(
                epochs=5,
                attack=Pgd(eps=0.15, step=0.09, steps=3),
                optimizer=OptimizerSpec(lr=0.2, schedule="one_cycle"),
                validation=ValidationSpec(every=0),
            )
            spec = CandidateSpec(
                Digits(),
                SmallCnn(width=8, depth=3),
                training,
                defenses=build(DefenseSpec, {"input": list(defenses)}),
            )
            done[key] = train(spec, digits.train, seed=0).net
        return done[key]

    return make


@pytest.fixture
def cheaper(monkeypatch):
    for name, effort in (("STEPS", 12), ("DRAWS", 8), ("QUERIES", 50)):
        monkeypatch.setattr(masking, name, effort)


def accuracies(net, images, suite=SUITE):
    judgment = judge(net, images, TASKS, named_attacks([suite], THREAT), seed=0)
    return {name.partition("(")[0]: each.accuracy for name, each in judgment.attacked.items()}


def failed(net, images):
    found = checks(net, images, TASKS, THREAT, seed=0)
    return {name for name, check in found.items() if not check["passed"]}


@pytest.mark.rotated(2)
@pytest.mark.parametrize("layer", THIRD, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("cheaper")
def test_a_third_partys_mask_is_found_out_and_broken(trained, digits, layer):
    net, images = trained(), digits.val.first(40)
    honest = accuracies(net, images)
    net.guard = nn.Sequential(layer())
    try:
        masked, raised = accuracies(net, images), failed(net, images)
    finally:
        net.guard = nn.Sequential()
    assert masked["pgd20"] > honest["pgd20"] + 0.2, "plain PGD is blind"
    assert masked["bpda"] < honest["bpda"] + 0.1, "BPDA is not"
    assert masked["square"] < masked["pgd20"] - 0.1, "nor is who needs no gradient"
    assert THIRD[layer] <= raised


OURS = [
    ({"name": BIT, "bits": 2},),
    ({"name": MEDIAN, "size": 3},),
    ({"name": BIT, "bits": 4}, {"name": MEDIAN, "size": 2}),
]


@pytest.mark.rotated(3)
@pytest.mark.parametrize("defenses", OURS, ids=str)
@pytest.mark.usefixtures("cheaper")
def test_our_layers_hide_nothing(trained, digits, defenses):
    """PGD finds as much as BPDA does, who needs no gradient little more, and no check is raised."""
    net, images = trained(*defenses), digits.val.first(50)
    found = accuracies(net, images)
    assert found["pgd20"] <= found["bpda"] + 0.06
    assert found["pgd20"] <= found["square"] + 0.06
    assert failed(net, images) == set()


@pytest.mark.usefixtures("cheaper")
def test_one_bit_is_rough_and_the_checks_that_say_so_are_right(trained, digits):
    """Where pixels are black or white the identity leads astray: restarts find more than one walk."""
    net, images = trained({"name": BIT, "bits": 1}), digits.val.first(50)
    single, restarted = (
        accuracies(net, images, f"{{name: pgd, steps: 20, step: 0.06, restarts: {restarts}}}")["pgd"]
        for restarts in (1, 6)
    )
    assert restarted < single - 0.02
    assert "noise_as_strong" in failed(net, images)


@pytest.mark.parametrize(("layer", "silent"), [(BitDepth(2).layer((1, 8, 8)), True), (Ripples(), False)])
@pytest.mark.usefixtures("cheaper")
def test_what_a_quantizer_takes_of_a_step_is_no_roughness(digits, layer, silent):
    """A small step moves few pixels to another shade; in those it does move, a plane is as steep as told."""
    with seeded_torch(0):
        net = RobustNet(nn.Flatten(), 64, 1, [10], nn.Sequential(layer)).eval()
    x = digits.val.pixels(slice(60))
    with torch.no_grad():
        images = Split(x, net(x).argmax(dim=1))
    assert checks(net, images, TASKS, THREAT, seed=0)["flat_loss"]["passed"] == silent


@pytest.mark.slow
def test_a_random_network_is_judged_by_its_mean_and_is_found_out(trained, digits, monkeypatch):
    for name, effort in (("STEPS", 4), ("DRAWS", 2), ("QUERIES", 5)):
        monkeypatch.setattr(masking, name, effort)
    monkeypatch.setattr(measure, "DRAWS", 4)
    net, images = trained({"name": NOISE, "sigma": 0.1}), digits.val.first(40)
    net.draws = 1
    first = judge(net, images, TASKS, named_attacks(["fgsm, pgd5"], THREAT), seed=0)
    torch.manual_seed(7)
    again = judge(net, images, TASKS, named_attacks(["fgsm, pgd5"], THREAT), seed=0)
    assert torch.equal(first.clean, again.clean)
    for name, attacked in first.attacked.items():
        assert torch.equal(attacked.robust, again.attacked[name].robust)
        assert torch.equal(attacked.distance.nan_to_num(), again.attacked[name].distance.nan_to_num())
    assert net.draws == 1
    assert measure.copy_of(net, images).draws == 4
    assert "random_output" in failed(net, images)
    with measure.averaged(net), torch.no_grad():
        clean = net(next(images.batches(40)).x).argmax(dim=1) == images.y
    assert torch.equal(measure.correct_clean(net, images), clean)


def test_attacks_on_a_mean_do_not_doubt_it(trained, digits, monkeypatch):
    """AutoAttack of the deterministic version: the mean of the same draws is a function."""
    monkeypatch.setattr(measure, "DRAWS", 2)
    net = trained({"name": NOISE, "sigma": 0.1})
    attacks = named_attacks(["{name: autoattack, steps: 2, queries: 3, targets: 1}"], THREAT)
    judgment = judge(net, digits.val.first(10), TASKS, attacks, seed=0)
    (attacked,) = judgment.attacked.values()
    assert "random" not in attacked.doubt
