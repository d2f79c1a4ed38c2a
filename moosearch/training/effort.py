"""How much a training computes: floating-point operations, counted without training.

Passes through the trunk are most of it. They are counted in real steps of a network whose trunk is a stand-in
that computes next to nothing and keeps a book of who passes it; what each kind of pass costs is counted on
the trunk itself, on the device ``meta``, where tensors hold no numbers. So any training is counted in a
fraction of a second, whatever its attack and loss, and on every machine alike.
"""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moosearch.attacks.gradient import NoAttack
from moosearch.data import Split, Task
from moosearch.models import Architecture, DefenseSpec, RobustNet, build_network
from moosearch.models.blank import blank
from moosearch.models.cost import FlopCounter
from moosearch.models.defenses.defense import NoDenoiser
from moosearch.models.shapes import Shapes
from moosearch.registry import to_tree
from moosearch.training.numerics import NumericsSpec
from moosearch.training.spec import CandidateSpec, TrainingSpec
from moosearch.training.train import Trainer

SIZES = (2, 4, 6)
"""Batch sizes of the steps that are counted; a loss may compare all images of a batch with each other."""

ROUGH = 64
"""Features that are assumed where a rough count will do."""


def training_flops(spec: CandidateSpec, images: int) -> int:
    """Count the floating-point operations of a whole training, as `moosearch.models.count_flops` does.

    Attack, forward and backward passes and the loss of every step of all epochs count; validation in between
    does not. What is counted is the mathematics: a layer that computes its gradient in a faster way counts
    as any other, and precision makes no difference.

    Args:
        spec: The candidate.
        images: Training images.

    Raises:
        SpecError: The images are too small for the architecture.
    """
    batches, rest = divmod(images, spec.training.batch_size)
    rest = rest if rest > 1 or images == 1 else 0  # see `Split.batches`
    total = 0
    for epoch, count in _epochs(spec):
        counted = tuple(step_flops(epoch, size) for size in SIZES)
        whole, last = (_parabola(counted, size) for size in (spec.training.batch_size, rest))
        total += count * (batches * whole + (last if rest else 0))
    return total


def _parabola(counted: Sequence[int], size: int) -> int:
    """Return what a parabola through the counts of `SIZES` says of another size."""
    first, second, third = counted
    along = Fraction(size - SIZES[0], SIZES[1] - SIZES[0])
    bend = along * (along - 1) / 2
    return int(first + along * (second - first) + bend * (third - 2 * second + first))


def _epochs(spec: CandidateSpec) -> list[tuple[CandidateSpec, int]]:
    """Return the candidate as its epochs see it, and of how many epochs that is so."""
    if not spec.training.schedules:
        return [(spec, spec.training.epochs)]
    found: dict[str, tuple[CandidateSpec, int]] = {}
    every = [spec.at(number) for number in range(1, spec.training.epochs + 1)]
    opens = any(epoch.training.attack.eps > 0 for epoch in every)
    for epoch in every:
        seen = _unattacked(epoch) if opens and epoch.training.attack.eps == 0 else epoch
        key = effort_key(seen)
        found[key] = seen, found.get(key, (seen, 0))[1] + 1
    return list(found.values())


def _unattacked(spec: CandidateSpec) -> CandidateSpec:
    """Return a candidate in whose epoch the ball is not open yet: see `Trainer.perturb`."""
    return dataclasses.replace(spec, training=dataclasses.replace(spec.training, attack=NoAttack()))


def effort_key(spec: CandidateSpec) -> str:
    """Return what of a training its effort depends on, for one network.

    Of real numbers that is whether they are 0; schedules are in it whole.
    """
    tree = to_tree(spec.training, TrainingSpec)
    return json.dumps([_coarse(tree), tree.get("schedules")], sort_keys=True)


def _coarse(node: Any) -> Any:
    """Return plain data with real numbers as whether they are 0."""
    if isinstance(node, float):
        return node != 0
    if isinstance(node, Mapping):
        return {key: _coarse(value) for key, value in node.items()}
    return [_coarse(value) for value in node] if isinstance(node, list) else node


def rough_training_flops(spec: CandidateSpec, images: int) -> int:
    """Count about as `training_flops` does, in less time for one of many candidates.

    Candidates whose trainings are alike share one step of two images and `ROUGH` features; a backward pass to
    images costs as much as the forward pass, one to weights twice as much.
    """
    total = 0
    for epoch, count in _epochs(spec):
        passes, rest = _rough_step(_Alike(epoch))
        forward = price(FORWARD, _trunk(epoch))
        total += count * images * (rest + forward * sum(way.rough * n for way, n in passes.items()))
    return total // SIZES[0]


def step_flops(spec: CandidateSpec, size: int) -> int:
    """Count the floating-point operations of the first step on a batch of a size."""
    trunk = _trunk(spec)
    passes, rest = _step(spec, size, features_of(trunk))
    return rest + sum(images * price(way, trunk) for way, images in passes.items())


class _Alike:
    """A candidate that equals others whose training, but for the trunk, computes as much."""

    def __init__(self, spec: CandidateSpec) -> None:
        self.spec = spec
        sizes = tuple(task.size for task in spec.dataset.tasks)
        self._key = effort_key(spec), spec.defenses.input, spec.dataset.shape, sizes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@functools.lru_cache(maxsize=1024)
def _rough_step(alike: _Alike) -> tuple["Counter[Way]", int]:
    return _step(alike.spec, SIZES[0], ROUGH)


def _trunk(spec: CandidateSpec) -> "Trunk":
    return Trunk(spec.architecture, spec.defenses, spec.dataset.shape, spec.dataset.tasks)


def _step(spec: CandidateSpec, size: int, features: int) -> tuple["Counter[Way]", int]:
    """Make a step with a stand-in: how many images passed it which way, and what was computed besides."""
    book = Book()
    light = dataclasses.replace(
        spec,
        architecture=StandIn(features, book),
        defenses=dataclasses.replace(spec.defenses, denoise=NoDenoiser()),
        training=dataclasses.replace(spec.training, numerics=NumericsSpec("fp32", "contiguous")),
    )
    x = torch.rand(size, *spec.dataset.shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(size) % spec.dataset.tasks[0].size
    trainer = Trainer(light, Split(x, y), seed=0)
    with FlopCounter() as counter:
        trainer.step(x, y)
    return book.passes, counter.total


class Trunk(NamedTuple):
    """What a trunk is built of."""

    architecture: Architecture
    defenses: DefenseSpec
    shape: tuple[int, int, int]
    tasks: tuple[Task, ...]

    def build(self) -> RobustNet:
        """Build its network without numbers, in training mode."""
        with blank("meta"):
            return build_network(self.architecture, self.shape, self.tasks, seed=0, defenses=self.defenses)


class Way(NamedTuple):
    """A kind of pass through a trunk.

    Attributes:
        name: ``forward``, ``backward``, or ``second``: backward through a backward pass.
        to_images: Whether a backward pass goes on to what came in.
        to_weights: Whether it goes to the weights.
    """

    name: str
    to_images: bool = False
    to_weights: bool = False

    @property
    def rough(self) -> int:
        """About what it costs, in forward passes."""
        return 2 if self.name == "second" or self.to_weights else 1


FORWARD, BACKWARD, SECOND = Way("forward"), Way("backward", to_images=True, to_weights=True), Way("second")


@functools.lru_cache(maxsize=1024)
def features_of(trunk: Trunk) -> int:
    """Return the number of features of a trunk."""
    return trunk.build().features


@functools.lru_cache(maxsize=4096)
def price(way: Way, trunk: Trunk) -> int:
    """Count the operations of a pass of one image."""
    if way == SECOND:  # backward through both passes, less what it is through the forward pass
        return _through_slope(trunk) - price(BACKWARD, trunk)
    net, images = trunk.build().trunk, 2
    net.requires_grad_(way.to_weights)
    x = torch.zeros(images, *trunk.shape, device="meta", requires_grad=way.to_images)
    with Shapes(), FlopCounter() as counter:
        y = net(x)
        forward = counter.total
        if way == FORWARD:
            return forward // images
        y.backward(torch.ones_like(y))
        return (counter.total - forward) // images


def _through_slope(trunk: Trunk) -> int:
    """Count backward through the gradient for an image and through the features, together."""
    net, images = trunk.build().trunk, 2
    x = torch.zeros(images, *trunk.shape, device="meta", requires_grad=True)
    with Shapes(), FlopCounter() as counter:
        y = net(x)
        (slope,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
        before = counter.total
        (slope.sum() + y.sum()).backward()
        return (counter.total - before) // images


class Book:
    """Keeps account of passes; a copy of a network writes into the same one.

    Attributes:
        visits: Forward passes, each with what came of it.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.visits: list[Visit] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Book":
        """Return itself."""
        return self

    @property
    def passes(self) -> Counter[Way]:
        """How many images passed in which way."""
        found: Counter[Way] = Counter()
        for visit in self.visits:
            seconds = [SECOND] * visit.seconds
            backward = [Way("backward", "images" in to, "weights" in to) for to in visit.backward]
            for way in (FORWARD, *backward, *seconds):
                found[way] += visit.images
        return found


@dataclass
class Visit:
    """A forward pass through the stand-in and all that comes of it.

    Attributes:
        images: How many images.
        backward: Its backward passes, each as the set of what it goes on to.
        seconds: Passes through backward passes.
    """

    images: int
    backward: list[set[str]] = field(default_factory=list)
    seconds: int = 0


@dataclass(frozen=True)
class StandIn:
    """An architecture of a given number of features that computes next to nothing."""

    features: int
    book: Book

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk."""
        return Toll(self.features, self.book), self.features


class Toll(nn.Module):
    """Features are the mean of an image times a weight each; who passes is written into a book."""

    def __init__(self, features: int, book: Book) -> None:
        """Create the weights."""
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1.0, 1.0, features))
        self.book = book

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, features)."""
        visit = Visit(len(x))
        self.book.visits.append(visit)
        images = _Gate.apply(x, visit, "images").flatten(1).mean(dim=1, keepdim=True)
        y: Tensor = _Meet.apply(images, _Gate.apply(self.weight, visit, "weights"), visit)
        return y


class _Gate(torch.autograd.Function):
    """The identity; a backward pass that goes through is known to go on."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, visit: Visit, to: str) -> Tensor:
        ctx.visit, ctx.to = visit, to
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ctx.visit.backward[-1].add(ctx.to)
        return gradients[0], None, None


class _Meet(torch.autograd.Function):
    """Images times weights."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, visit: Visit) -> Tensor:
        y = images * weight
        ctx.save_for_backward(images, weight, y)
        ctx.visit = visit
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ctx.visit.backward.append(set())
        found = _Slope.apply(gradients[0], *ctx.saved_tensors, ctx.visit)
        return (*found, None)


class _Slope(torch.autograd.Function):
    """The gradients for images and weights.

    A backward pass through them goes on through the features, as derivatives of activations depend on them.
    """

    @staticmethod
    def forward(
        ctx: Any, along: Tensor, images: Tensor, weight: Tensor, y: Tensor, visit: Visit
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight, y)
        ctx.visit = visit
        return (along * weight).sum(dim=1, keepdim=True), (along * images).sum(dim=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, y = ctx.saved_tensors
        ctx.visit.seconds += 1
        return gradients[0] * weight, None, None, torch.zeros_like(y), None
