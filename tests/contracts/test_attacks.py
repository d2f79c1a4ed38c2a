"""What every attack promises, through `perturb` and `seek`. A new plug-in is covered as it is registered."""

import itertools
import json
import warnings
from dataclasses import dataclass
from typing import Annotated, ClassVar, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from moosearch.attacks import ATTACKS, Attack, AttackWarning, perturb, seek
from moosearch.attacks.attack import Mode
from moosearch.attacks.ball import BALLS, Norm
from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.models import RobustNet, build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, field_hints, to_tree
from moosearch.seeding import torch_generator

TASKS = Digits(auxiliary=("odd_even", "prime_composite")).tasks
HINT = Annotated[Attack, ATTACKS]

QUICK = {
    "apgd": {"steps": 2},
    "autoattack": {"steps": 2, "queries": 3, "targets": 1},
    "cw_l2": {"steps": 2, "binary_search_steps": 2},
    "cw_linf": {"steps": 2},
    "deepfool": {"steps": 2, "candidates": 4},
    "fab": {"steps": 2},
    "noise": {"draws": 2},
    "square": {"queries": 5},
    "transfer": {"attack": {"name": "pgd", "steps": 2}},
}
"""Less effort than by default, for attacks that take their time."""

KEEPERS = {"apgd", "autoattack", "cw_l2", "cw_linf", "deepfool", "fab", "square"}
"""Attacks that give an image back as it was where they cannot fool, or need not."""

COUNTERS = {"apgd", "autoattack", "square"}
"""Attacks whose library draws random numbers for as many images as are still right."""


def variants(**options):
    """Every attack that has these fields, with all combinations of their values."""
    return [
        pytest.param({"name": name, **chosen}, id="-".join([name, *map(str, chosen.values())]))
        for name in ATTACKS
        if options.keys() <= field_hints(ATTACKS.get(name)).keys()
        for values in itertools.product(*options.values())
        for chosen in [dict(zip(options, values, strict=True))]
    ]


OPTIONS = [
    {"name": "apgd", "objective": "dlr", "restarts": 2},
    {"name": "apgd", "objective": "dlr", "targets": 2, "norm": "l2"},
    {"name": "fab", "targets": 2, "restarts": 2},
    {"name": "fab", "targets": 2, "restarts": 2, "norm": "l2"},
]
ALONE = [
    *variants(),
    *variants(norm=("l2",)),
    *variants(targeted=("random", "least_likely")),
    *(pytest.param(options, id="-".join(map(str, options.values()))) for options in OPTIONS),
]
TOGETHER = variants(mode=("train",), norm=("linf", "l2"))


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory):
    """An export, as far as loading it goes."""
    folder = tmp_path_factory.mktemp("surrogate")
    net = build_network(SmallCnn(width=3, depth=2), (1, 8, 8), TASKS[:1], seed=7)
    (folder / "spec.yaml").write_text("candidate: {architecture: {name: small_cnn, width: 3, depth: 2}}")
    output = {"classes": list(TASKS[0].groups)}
    (folder / "manifest.json").write_text(
        json.dumps({"input": {"shape": ["batch", 1, 8, 8]}, "output": output})
    )
    save_file(net.deployed().state_dict(), folder / "weights.safetensors")
    return folder


def make(options, surrogate):
    """Build an attack, quickened, and with a surrogate where it needs one."""
    name = options["name"]
    needed = {"surrogate": str(surrogate)} if "surrogate" in field_hints(ATTACKS.get(name)) else {}
    return build(HINT, QUICK.get(name, {}) | needed | options)


@pytest.fixture(params=ALONE + TOGETHER)
def attack(request, surrogate):
    return make(request.param, surrogate)


def assert_in_ball(attack, x, x_adv):
    eta = (x_adv - x).flatten(1)
    lengths = eta.abs().amax(dim=1) if attack.norm == "linf" else eta.norm(dim=1)
    assert lengths.max() <= attack.eps + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


@pytest.fixture
def net():
    """A network whose batch statistics and normalization are not those of a new one."""
    network = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).train()
    x, _ = batch(32, seed=1)
    network.normalize.fit(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    with torch.no_grad():
        network(x)
    return network.eval()


def batch(size=6, seed=0):
    generator = torch_generator(seed)
    x = torch.rand(size, 1, 8, 8, generator=generator)
    x = (1.2 * x - 0.1).clamp(0, 1)  # some pixels lie on the border of [0, 1]
    return x, torch.randint(0, 10, (size,), generator=generator)


SMALL = build_network(SmallCnn(width=2, depth=2), (1, 8, 8), TASKS, seed=0)


def moved(attack, net, x, y, seed=0):
    return perturb(attack, net, x, labels_of(TASKS, y), generator=torch_generator(seed))


def state(net):
    """All that an attack must leave alone."""
    tensors = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()}
    requires = {name: p.requires_grad for name, p in net.named_parameters()}
    modes = {name: module.training for name, module in net.named_modules()}
    return tensors, grads, requires, modes


def assert_same_state(before, after):
    for old, new in zip(before[:2], after[:2], strict=True):
        assert old.keys() == new.keys()
        for name, tensor in old.items():
            assert (tensor is None and new[name] is None) or torch.equal(tensor, new[name]), name
    assert before[2:] == after[2:]


def prepare(net, *, training):
    """Set the mode, that of one layer to the other one, freeze one parameter, and give others a gradient."""
    net.train(training)
    next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d)).train(not training)
    first, *others = net.parameters()
    first.requires_grad = False
    for parameter in others[::2]:
        parameter.grad = torch.ones_like(parameter)
    return state(net)


@pytest.mark.rotated(3)
def test_result_is_in_the_ball_and_in_the_unit_range(attack, net):
    x, y = batch()
    assert_in_ball(attack, x, moved(attack, net, x, y))


def test_ball_and_mode_are_known_ones(attack):
    assert attack.eps >= 0
    assert attack.norm in BALLS
    assert attack.mode in get_args(Mode)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    options=st.sampled_from([variant.values[0] for variant in variants(norm=("linf", "l2"))]),
    eps=st.floats(0, 2),
    step=st.floats(1e-3, 2),
    random_start=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_result_is_in_a_ball_of_any_size(surrogate, options, eps, step, random_start, seed):
    known = field_hints(ATTACKS.get(options["name"]))
    sizes = {"eps": eps, "step": step, "random_start": random_start}
    attack = make(options | {key: value for key, value in sizes.items() if key in known}, surrogate)
    x, y = batch(seed=seed)
    assert_in_ball(attack, x, moved(attack, SMALL.eval(), x, y))


@pytest.mark.rotated(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_type_stay(attack, net, dtype):
    x, y = batch()
    x_adv = moved(attack, net.to(dtype), x.to(dtype), y)
    assert x_adv.shape == x.shape
    assert x_adv.dtype == dtype


@pytest.mark.rotated(3)
def test_result_is_detached_and_new_and_the_images_stay(attack, net):
    x, y = batch()
    before = x.clone()
    x_adv = moved(attack, net, x, y)
    assert not x_adv.requires_grad
    assert x_adv.grad_fn is None
    x_adv.zero_()
    assert torch.equal(x, before)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("training", [True, False])
def test_network_is_left_as_it_was(attack, net, training):
    before = prepare(net, training=training)
    moved(attack, net, *batch())
    assert_same_state(before, state(net))


@pytest.mark.rotated(3)
@pytest.mark.parametrize("training", [True, False])
def test_training_mode_does_not_change_the_result(attack, net, training):
    x, y = batch()
    expected = moved(attack, net.eval(), x, y)
    assert torch.equal(moved(attack, net.train(training), x, y), expected)


@pytest.mark.rotated(3)
def test_same_seed_gives_the_same_result(attack, net):
    x, y = batch()
    torch.manual_seed(1)
    first = moved(attack, net, x, y, seed=3)
    torch.manual_seed(2)
    assert torch.equal(moved(attack, net, x, y, seed=3), first)


@pytest.mark.rotated(3)
def test_global_generator_is_not_used(attack, net):
    before = torch.get_rng_state()
    moved(attack, net, *batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_of_one(attack, net):
    x, y = batch(1)
    x_adv = moved(attack, net, x, y)
    assert x_adv.shape == x.shape
    assert_in_ball(attack, x, x_adv)


@pytest.mark.rotated(3)
@pytest.mark.parametrize(
    "attack", [each for each in ALONE if each.values[0]["name"] not in COUNTERS], indirect=True
)
def test_images_of_a_batch_do_not_influence_one_another(attack, net):
    x, y = batch()
    expected = moved(attack, net, x, y)
    changed, others = x.clone(), [0, 1, 2, 4, 5]
    changed[3], y[3] = 1 - x[3], (y[3] + 1) % 10
    torch.testing.assert_close(moved(attack, net, changed, y)[others], expected[others])


@pytest.mark.parametrize("attack", TOGETHER, indirect=True)
def test_batch_statistics_are_used_in_mode_train(attack, net):
    x, y = batch()
    x_adv = moved(attack, net, x, y)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.add_(3)
            module.running_var.mul_(9)
    assert torch.equal(moved(attack, net, x, y), x_adv)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("attack", variants(eps=(0,)) + variants(eps=(0,), norm=("l2",)), indirect=True)
def test_ball_of_radius_zero_is_the_image(attack, net):
    x, y = batch()
    assert torch.equal(moved(attack, net, x, y), x)


@pytest.mark.rotated(3)
def test_memory_format_stays(attack, net):
    x, y = batch()
    last = x.contiguous(memory_format=torch.channels_last)
    assert moved(attack, net, last, y).stride() == last.stride()
    torch.testing.assert_close(moved(attack, net, last, y), moved(attack, net, x, y))


@pytest.mark.parametrize(
    "attack", [each for each in ALONE + TOGETHER if each.values[0]["name"] not in KEEPERS], indirect=True
)
def test_attack_with_a_radius_moves_every_image(attack, net):
    x, y = batch()
    distances = (moved(attack, net, x, y) - x).abs().amax(dim=(1, 2, 3))
    assert (distances > 0).tolist() == [attack.eps > 0] * len(x)


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS.get(name).multitask])
def test_wrong_number_of_tasks_is_refused_by_attacks_on_several_tasks(name, net, surrogate):
    attack = make({"name": name}, surrogate)
    x, y = batch()
    before = prepare(net, training=True)
    with pytest.raises(ValueError, match="zip"):
        perturb(attack, net, x, labels_of(TASKS[:2], y), generator=torch_generator(0))
    assert_same_state(before, state(net))


@pytest.mark.parametrize("name", [name for name in ATTACKS if not ATTACKS.get(name).multitask])
def test_attacks_on_one_task_ignore_the_labels_of_others(name, net, surrogate):
    attack = make({"name": name}, surrogate)
    x, y = batch()
    alone = perturb(attack, net, x, labels_of(TASKS[:1], y), generator=torch_generator(0))
    assert torch.equal(moved(attack, net, x, y), alone)


def test_fields_round_trip_through_plain_data(attack):
    assert build(HINT, to_tree(attack, HINT)) == attack


ROWS = torch.tensor([4, 1, 5])


def sought(attack, net, x, y, rows=ROWS, seed=0):
    return seek(attack, net, x, labels_of(TASKS, y), rows=rows, generator=torch_generator(seed))


@pytest.mark.parametrize("attack", ALONE, indirect=True)
def test_rows_asked_for_come_back_in_their_order_and_in_the_ball(attack, net):
    x, y = batch()
    before = x.clone()
    found = sought(attack, net, x, y)
    assert found.x_adv.shape == found.outside.shape == x[ROWS].shape
    assert found.distance.shape == ROWS.shape
    assert_in_ball(attack, x[ROWS], found.x_adv)
    lengths = (found.outside - x[ROWS]).flatten(1).norm(float("inf") if attack.norm == "linf" else 2, dim=1)
    torch.testing.assert_close(found.distance, lengths)
    assert torch.equal(x, before)


@pytest.mark.parametrize("attack", ALONE, indirect=True)
def test_images_that_are_not_asked_for_do_not_matter(attack, net):
    x, y = batch()
    expected = sought(attack, net, x, y).x_adv
    others = [0, 2, 3]
    x[others], y[others] = 1 - x[others], (y[others] + 1) % 10
    torch.testing.assert_close(sought(attack, net, x, y).x_adv, expected)


@pytest.mark.parametrize("attack", ALONE, indirect=True)
def test_seeking_is_decided_by_its_generator_and_leaves_the_network_and_the_global_one_alone(attack, net):
    x, y = batch()
    torch.manual_seed(1)
    first = sought(attack, net, x, y, seed=3).x_adv
    torch.manual_seed(2)
    before, generator = prepare(net, training=True), torch.get_rng_state()
    assert torch.equal(sought(attack, net, x, y, seed=3).x_adv, first)
    assert torch.equal(torch.get_rng_state(), generator)
    assert_same_state(before, state(net))


class Steps(nn.Module):
    """Rounds, with a gradient that is zero everywhere."""

    def forward(self, x):
        return (4 * x).round()


def stepped(classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = nn.Sequential(Steps(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU())
        return RobustNet(trunk, 8, 1, [classes]).eval()


EDGES = {
    "one image": (lambda net, x: net(x).argmax(1), 10, 1),
    "all right": (lambda net, x: net(x).argmax(1), 10, 6),
    "all wrong": (lambda net, x: net(x).argmin(1), 10, 6),
    "constant images": (lambda net, x: net(x.fill_(0.5)).argmax(1), 10, 6),
    "black and white": (lambda net, x: net(x.round_()).argmax(1), 10, 6),
    "three classes": (lambda net, x: net(x).argmax(1), 3, 6),
    "two classes": (lambda net, x: net(x).argmax(1), 2, 6),
}


@pytest.mark.rotated(3)
@pytest.mark.parametrize("zero_gradient", [False, True], ids=["smooth", "zero gradient"])
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("norm", list(BALLS))
def test_edges(edge, zero_gradient, norm, surrogate):
    """No attack stumbles, whatever the images and the network are like."""
    labels_for, classes, size = EDGES[edge]
    net = stepped(classes)
    if not zero_gradient:
        net.trunk[0] = nn.Identity()
    x = batch(size)[0]
    with torch.no_grad():
        labels = (labels_for(net, x),)
    for name in ATTACKS:
        hints = field_hints(ATTACKS.get(name))
        if ATTACKS.get(name).multitask or ("surrogate" in hints and classes != 10):
            continue
        attack = make({"name": name} | ({"norm": norm} if "norm" in hints else {}), surrogate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttackWarning)
            found = seek(attack, net, x, labels, rows=torch.arange(size), generator=torch_generator(0))
        assert found.x_adv.isfinite().all(), name
        assert found.outside.isfinite().all(), name
        assert_in_ball(attack, x, found.x_adv)


@dataclass(frozen=True)
class Reckless:
    """Leaves the ball and the unit range, with a graph."""

    norm: Norm
    eps: float = 0.1
    mode: ClassVar[Mode] = "eval"
    multitask: ClassVar[bool] = False

    def __call__(self, net, x, labels, *, generator):
        return (x + 5 * torch.randn(x.shape, generator=generator)).requires_grad_() * 2


@dataclass(frozen=True)
class Broken:
    """Raises in the middle."""

    mode: Mode
    eps: float = 0.1
    norm: ClassVar[Norm] = "linf"
    multitask: ClassVar[bool] = False

    def __call__(self, net, x, labels, *, generator):
        net(x)
        raise RuntimeError("half-way")


class Spy:
    """Notes the state of the network that it is given."""

    eps = 0.1
    norm = "linf"
    multitask = False

    def __init__(self, mode):
        self.mode = mode

    def __call__(self, net, x, labels, *, generator):
        self.modes = {module.training for module in net.modules()}
        self.requires = {parameter.requires_grad for parameter in net.parameters()}
        self.image_requires_grad = x.requires_grad
        return x


@pytest.mark.parametrize("norm", list(BALLS))
def test_reckless_attack_is_projected_and_detached(net, norm):
    x, y = batch()
    attack = Reckless(norm)
    x_adv = moved(attack, net, x, y)
    assert not x_adv.requires_grad
    assert_in_ball(attack, x, x_adv)
    assert (x_adv - x).flatten(1).norm(dim=1).min() > 0.05, "the ball is used"


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("training", [True, False])
def test_network_is_left_as_it_was_when_an_attack_raises(net, training, mode):
    before = prepare(net, training=training)
    with pytest.raises(RuntimeError, match="half-way"):
        moved(Broken(mode), net, *batch())
    assert_same_state(before, state(net))


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("training", [True, False])
def test_attack_sees_a_frozen_network_in_its_mode_and_detached_images(net, training, mode):
    x, y = batch()
    prepare(net, training=training)
    spy = Spy(mode)
    moved(spy, net, x.requires_grad_(), y)
    assert spy.modes == {mode == "train"}
    assert spy.requires == {False}
    assert not spy.image_requires_grad
