"""Checks for masking: they fire on planted defences, and on nothing else."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from moosearch.attacks import Threat
from moosearch.attacks.gradient import NoAttack, Pgd, cross_entropy
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.judging import masking, measure
from moosearch.judging.masking import EXPLANATIONS, Check, checks, explain
from moosearch.models import build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

TASKS = Digits().tasks
LINF, L2 = Threat("linf", 0.1), Threat("l2", 0.5)


def failed(found):
    """Return the names of the checks that failed."""
    return [name for name, check in found.items() if not check["passed"]]


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def sound(digits):
    """Return a function that makes a copy of a trained network: 'adversarial' or 'plain'."""
    specs, states = {}, {}
    for kind, attack in (("adversarial", Pgd(eps=0.1, step=0.06, steps=3)), ("plain", NoAttack())):
        training = TrainingSpec(
            epochs=6,
            attack=attack,
            optimizer=OptimizerSpec(lr=0.2, schedule="one_cycle"),
            validation=ValidationSpec(every=0),
        )
        specs[kind] = CandidateSpec(Digits(), SmallCnn(width=12, depth=3), training)
        states[kind] = train(specs[kind], digits.train, seed=0).net.state_dict()

    def copy(kind="adversarial"):
        net = specs[kind].build_network(seed=0)
        net.load_state_dict(states[kind])
        return net.eval()

    return copy


@pytest.fixture(autouse=True)
def cheaper(monkeypatch):
    for name, effort in (("STEPS", 12), ("DRAWS", 8), ("QUERIES", 50)):
        monkeypatch.setattr(masking, name, effort)


class Layer(nn.Module):
    """A defence as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def staircase(x):
    """Four steps, steep but differentiable."""
    return ((4 * x).floor().detach() + torch.sigmoid(200 * (4 * x % 1 - 0.5))) / 4


def scale_logits(net, factor):
    with torch.no_grad():
        net.heads[0].weight.mul_(factor)
        net.heads[0].bias.mul_(factor)


DEFENCES = {
    "quantizing": (
        lambda x: (4 * x).round() / 4,
        {"zero_gradient", "noise_as_strong", "unbounded_holds"},
    ),
    "thresholding": (  # as a comparison, it has no gradient at all
        lambda x: (x > 0.5).float(),
        {"zero_gradient", "noise_as_strong", "unbounded_holds"},
    ),
    "staircase": (staircase, {"flat_loss", "noise_as_strong", "unbounded_holds"}),
    "ripples": (lambda x: x + 0.05 * torch.sin(3000 * x), {"flat_loss", "noise_as_strong"}),
    "waves": (lambda x: x + 0.05 * torch.sin(200 * x), {"iterative_weaker", "black_box_stronger"}),
    "random": (lambda x: x + 0.2 * torch.randn_like(x), {"random_output", "iterative_weaker"}),
}


def defended(net, name):
    net.normalize = nn.Sequential(Layer(DEFENCES[name][0]), net.normalize)
    return net


@pytest.mark.rotated(4)
@pytest.mark.parametrize("threat", [LINF, L2], ids=["linf", "l2"])
@pytest.mark.parametrize("kind", ["adversarial", "plain"])
def test_silent_on_sound_networks(sound, digits, kind, threat):
    found = checks(sound(kind), digits.val, TASKS, threat, seed=0, most=40)
    assert failed(found) == []
    assert all(check["observed"]["suspicious"] <= 2 for check in found.values())


@pytest.mark.parametrize(
    "eps", [0.0, *(pytest.param(eps, marks=pytest.mark.slow) for eps in (1e-8, 1e-4)), 0.5]
)
def test_silent_at_radii_of_all_sizes(sound, digits, eps):
    assert failed(checks(sound(), digits.val, TASKS, Threat("linf", eps), seed=0, most=20)) == []


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", DEFENCES)
def test_planted_layer_is_found(sound, digits, name):
    found = checks(defended(sound(), name), digits.val, TASKS, LINF, seed=0, most=60)
    assert DEFENCES[name][1] <= set(failed(found))


def test_planted_layer_is_found_in_the_trunk(sound, digits):
    """Where the twin traces what is computed."""
    net = sound()
    net.trunk = nn.Sequential(Layer(lambda x: (3 * x).round() / 3), net.trunk)
    found = checks(net, digits.val, TASKS, LINF, seed=0, most=20)
    assert {"zero_gradient", "unbounded_holds"} <= set(failed(found))


@pytest.mark.parametrize("factor", [1e3, pytest.param(1e6, marks=pytest.mark.slow)])
def test_saturated_softmax_is_found(sound, digits, factor):
    net = sound()
    with torch.no_grad():
        net.heads[0].weight.mul_(factor)
        net.heads[0].bias.mul_(factor)
    assert failed(checks(net, digits.val, TASKS, LINF, seed=0, most=20)) == ["zero_gradient"]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFENCES)
def test_twenty_images_are_enough(sound, digits, name):
    assert failed(checks(defended(sound("plain"), name), digits.val, TASKS, LINF, seed=0, most=20)) != []


def untrained(bias=0.0):
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).eval()
    with torch.no_grad():
        net.heads[0].bias[3] += bias
    return net


def test_silent_on_an_untrained_network(digits):
    assert failed(checks(untrained(), digits.val, TASKS, LINF, seed=0)) == []


def test_silent_on_a_network_that_says_one_class_only(digits):
    """Its gradient is zero, and nothing fools it: both are true."""
    net = untrained(bias=100.0)
    with torch.no_grad():
        net.heads[0].weight.zero_()
    found = checks(net, digits.val, TASKS, LINF, seed=0)
    assert failed(found) == []
    assert found["unbounded_holds"]["observed"]["accuracy_at_1"] > 0


def test_silent_without_a_single_right_image(digits):
    net, x = untrained(), digits.val.x[:10]
    wrong = (net(x).argmax(dim=1) + 1) % 10
    found = checks(net, Split(x, wrong), TASKS, LINF, seed=0)
    assert failed(found) == []
    assert {check["observed"]["images"] for check in found.values()} == {0}


def test_a_gradient_of_zero_is_no_sign_where_the_network_is_constant(digits):
    """Digits have 17 shades: a threshold between two of them is out of reach, and truly robust."""
    net = untrained()
    net.normalize = nn.Sequential(Layer(lambda x: (x - 8.5 / 16).sign()), net.normalize)
    images = Split(digits.val.x, net(digits.val.x).argmax(dim=1))
    near, far = (
        checks(net, images, TASKS, Threat("linf", eps), seed=0, most=40)["zero_gradient"]
        for eps in (0.03, 0.3)
    )
    assert near["passed"]
    assert not far["passed"]


def test_accuracies_are_shares_of_all_images(sound, digits):
    net, images = sound(), digits.val.first(64)
    labels = images.y.clone()
    labels[:16] = (labels[:16] + 1) % 10  # these are wrong, and not looked at
    found = checks(net, Split(images.x, labels), TASKS, LINF, seed=0)
    right = int(measure.correct_clean(net, Split(images.x, labels)).sum())
    assert found["zero_gradient"]["observed"] == {"suspicious": 0, "images": right}
    accuracies = [
        value * 64 for check in found.values() for key, value in check["observed"].items() if "acc" in key
    ]
    assert all(value == round(value) and 0 <= value <= right for value in accuracies)


def test_accuracy_falls_to_zero_as_the_radius_grows(sound, digits):
    for threat in (LINF, L2):
        observed = checks(sound(), digits.val, TASKS, threat, seed=0, most=30)["unbounded_holds"]["observed"]
        accuracies = [observed[key] for key in observed if key.startswith("accuracy_at_")]
        assert accuracies == sorted(accuracies, reverse=True)
        assert accuracies[0] > 0
        assert accuracies[-1] == 0
    assert list(observed)[-1] == "accuracy_at_8"  # sqrt(64 pixels)


def test_white_box_and_black_box_are_counted_on_images_that_can_be_fooled(sound, digits):
    observed = checks(sound(), digits.val, TASKS, LINF, seed=0, most=64)["black_box_stronger"]["observed"]
    clean = int(measure.correct_clean(sound(), digits.val.first(64)).sum())
    assert observed["images"] == round(clean - 64 * observed["accuracy_both"])
    assert observed["suspicious"] == round(64 * (observed["accuracy_pgd"] - observed["accuracy_both"]))


def test_the_seed_decides_and_nothing_is_left_behind(sound, digits):
    net = defended(sound(), "waves")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, other = (checks(net.train(), digits.val, TASKS, LINF, seed=seed, most=16) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert checks(net, digits.val, TASKS, LINF, seed=0, most=16) == first != other
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_all_batches_are_counted(sound, digits, monkeypatch):
    net = defended(sound(), "quantizing")
    right = int(measure.correct_clean(net, digits.val.first(24)).sum())
    monkeypatch.setattr(measure, "BATCH", 10)
    found = checks(net, digits.val, TASKS, LINF, seed=0, most=24)
    assert found["zero_gradient"]["observed"] == {"suspicious": right, "images": right}


def export(net, folder):
    """Write as much of an export as a surrogate needs."""
    manifest = {"input": {"shape": [1, 1, 8, 8]}, "output": {"classes": TASKS[0].groups}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "spec.yaml").write_text("candidate: {architecture: {name: small_cnn, width: 12, depth: 3}}")
    save_file(net.deployed().state_dict(), folder / "weights.safetensors")


def test_transfer_is_checked_where_there_is_a_surrogate(sound, digits, tmp_path):
    """A plain network, as surrogate for itself behind a layer that hides its gradients."""
    export(sound("plain"), tmp_path)
    for net, fails in ((sound(), False), (defended(sound("plain"), "quantizing"), True)):
        found = checks(net, digits.val, TASKS, LINF, seed=0, most=40, surrogate=tmp_path)
        assert set(found) == set(EXPLANATIONS)
        assert ("transfer_stronger" in failed(found)) == fails


def test_record_is_plain_data_and_every_name_is_explained(sound, digits):
    found = checks(sound(), digits.val, TASKS, LINF, seed=0, most=8)
    assert json.loads(json.dumps(found)) == found
    assert set(found) == set(EXPLANATIONS) - {"transfer_stronger"}
    assert all(explain(name).startswith("Raised if ") for name in EXPLANATIONS)


def test_failed_names_those_that_did_not_pass():
    record = {"a": Check(passed=True, observed={}), "b": Check(passed=False, observed={})}
    assert failed(record) == ["b"]


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 300), st.data())
def test_a_check_fails_where_a_tolerable_share_would_be_a_rare_accident(images, data):
    suspicious = data.draw(st.integers(0, images))
    chance = sum(math.comb(images, k) * 0.05**k * 0.95 ** (images - k) for k in range(suspicious, images + 1))
    if abs(chance - 0.01) > 1e-9:
        assert masking._check(suspicious, images, {})["passed"] == (chance > 0.01)


def test_one_image_is_never_enough():
    assert all(masking._check(1, images, {})["passed"] for images in range(1, 300))


def test_more_means_more_than_rounding_and_only_where_the_attack_failed():
    clean = torch.tensor([[4.0, 0.0]] * 5)
    attack = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [4.0, 0.0]])
    other = torch.tensor([[1.0, 0.0], [1.95, 0.0], [3.0, 0.0], [0.0, 9.0], [4.0 - 1e-6, 0.0]])
    y = torch.zeros(5, dtype=torch.int64)
    part = masking._Part(None, None, torch.zeros(5, 1, 1, 1), (y,), clean, 0)
    marks = masking._gains_more(part, masking.margin, other, than=attack)
    assert marks.tolist() == [True, False, False, False, False]
    assert masking._gains_more(part, cross_entropy, other, than=attack).tolist()[0]
