"""Images of two objects: how far one of them, and what surrounds it, may change without hiding the other."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from moosearch.registry import Positive
from moosearch.verify.box import Layers
from moosearch.verify.expand import Cut, Expansion, Face, doubling, expand, naive
from moosearch.verify.falsify import margins
from moosearch.verify.oracle import Oracle
from moosearch.verify.piecewise import Piecewise, Vector
from moosearch.verify.verifier import Effort, Verifier

Algorithm = Callable[[Oracle, Vector, float], Expansion]
Weights = Literal["even", "inner", "outer", "area"]


@dataclass(frozen=True)
class Approach:
    """How neighborhoods are looked for.

    Attributes:
        algorithm: ``guided`` by gradients, ``naive``: layer by layer from zero by binary search, or
            ``doubling``: so too, by steps that double.
        cut: How a step that went too far is shrunk, see `cutting_weights`.
        weights: What a layer counts: all the same (``even``), those near the object more (``inner``) or less
            (``outer``), or as many as their pixels (``area``). They sum to 1.
        tolerance: How far a layer may still be able to grow, in pixel units of [0, 1].
        deadline: Seconds for an image and a target.
        effort: How hard each query tries.
    """

    algorithm: Literal["guided", "naive", "doubling"] = "guided"
    cut: Cut = "fixed"
    weights: Weights = "even"
    tolerance: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.01
    deadline: Positive = 300.0
    effort: Effort = field(default_factory=lambda: Effort(time_limit=10.0))


@dataclass(frozen=True)
class Question:
    """An image, which object is to be seen, and which one may change.

    Attributes:
        image: Its number.
        x: (n,) the image, in [0, 1].
        regions: (H, W) the class of the object that each pixel belongs to, plus 1; 0 for none.
        target: The class to be seen.
        perturbed: The class of the other object.
    """

    image: int
    x: Vector
    regions: NDArray[np.uint8]
    target: int
    perturbed: int


@dataclass(frozen=True)
class Witness:
    """An image in which the network does not see the target.

    Attributes:
        x: (n,) its pixels.
        seen: The classes that it sees, ties with the target counting against it.
    """

    x: tuple[float, ...]
    seen: tuple[int, ...]


@dataclass(frozen=True)
class Neighborhood:
    """A robust layered neighborhood of an image.

    Attributes:
        image: Number of the image.
        target: The class that is seen in all of it.
        perturbed: The class of the object that layers are counted from.
        eps: Radius of every layer, in pixel units of [0, 1].
        faces: Why each layer cannot grow by the tolerance.
        witnesses: For each layer that is blocked, an image of the neighborhood with that layer so much wider.
        size: Weighted mean of the radii.
        at_most: No robust neighborhood is larger, by the witnesses found.
        complete: Whether there was time to try every layer.
        queries: How many there were, by what answered them.
        seconds: How long that took, by the same.
        total: Seconds in all.
    """

    image: int
    target: int
    perturbed: int
    eps: tuple[float, ...]
    faces: tuple[Face, ...]
    witnesses: tuple[Witness | None, ...]
    size: float
    at_most: float
    complete: bool
    queries: Mapping[str, int]
    seconds: Mapping[str, float]
    total: float

    def to_tree(self) -> dict[str, Any]:
        """Write it as plain data."""
        return asdict(self)


def weights_of(name: Weights, layers: Layers) -> Vector:
    """Return the weights of layers: (r + 1,), which sum to 1."""
    count = layers.count
    weights = {
        "even": np.ones(count),
        "inner": np.arange(count, 0, -1, dtype=np.float64),
        "outer": np.arange(1, count + 1, dtype=np.float64),
        "area": layers.sizes.astype(np.float64),
    }[name]
    return np.asarray(weights / weights.sum())


def seen(network: Piecewise, question: Question) -> bool:
    """Whether the network sees both objects of an image as it is."""
    logits = network(question.x[None])
    return all(margins(logits, label, 2)[0] < 0 for label in (question.target, question.perturbed))


def neighborhood(
    network: Piecewise, approach: Approach, question: Question, *, seed: int = 0
) -> Neighborhood:
    """Find a maximal robust neighborhood of an image in which the network sees both objects.

    Args:
        network: The network, with two labels an image.
        approach: How.
        question: The image, and what is asked.
        seed: Of the attacks.

    Raises:
        ValueError: The object that may change has no pixels.
    """
    begun = time.monotonic()
    layers = Layers.around(question.regions == question.perturbed + 1)
    oracle = Oracle(
        Verifier(network, 2, approach.effort, seed),
        layers,
        question.x,
        question.target,
        begun + approach.deadline,
    )
    weights = weights_of(approach.weights, layers)
    algorithms: dict[str, Algorithm] = {
        "guided": partial(expand, cut=approach.cut),
        "naive": naive,
        "doubling": doubling,
    }
    found = algorithms[approach.algorithm](oracle, weights, approach.tolerance)
    return Neighborhood(
        question.image,
        question.target,
        question.perturbed,
        tuple(map(float, found.eps)),
        found.faces,
        tuple(None if x is None else _witness(network, x, question.target) for x in found.witnesses),
        found.size,
        found.at_most,
        found.complete,
        dict(oracle.queries),
        dict(oracle.seconds),
        time.monotonic() - begun,
    )


def _witness(network: Piecewise, x: Vector, target: int) -> Witness:
    logits = network(x[None])[0]
    logits[target] = np.nextafter(logits[target], -np.inf)  # a tie is lost
    return Witness(tuple(map(float, x)), tuple(map(int, np.sort(np.argsort(-logits)[:2]))))
