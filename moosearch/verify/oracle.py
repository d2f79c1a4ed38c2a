"""Who is asked whether a layered neighborhood is robust: the verifier, and what it said before."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moosearch.verify.box import Layers
from moosearch.verify.falsify import margins
from moosearch.verify.piecewise import Matrix, Vector
from moosearch.verify.verifier import Answer, Verdict, Verifier

_log = logging.getLogger(__name__)

HALVINGS = 12
"""Steps of the line search that brings a witness closer to the image."""

Kind = Literal["remembered", "attack", "bounds", "branching", "milp", "unknown"]
"""What answered a query: nothing but memory, or the verifier in one of its ways; or nobody could."""


class OutOfTimeError(Exception):
    """The deadline is over."""


@dataclass
class Oracle:
    """Answers for neighborhoods of one image, monotone: within a robust one all are, around a witness none.

    Attributes:
        verifier: The verifier of the network.
        layers: The layers of pixels.
        x: (n,) the image.
        target: The class that must stay among the top labels.
        deadline: Of `time.monotonic`, after which nothing is answered any more.
        told: Is told every answer as it comes: the vector, the answer, what gave it.
        witnesses: (n,) images that break the property, each brought nearer to the image.
        queries: Answers by kind.
        seconds: Their wall-clock time by kind.
    """

    verifier: Verifier
    layers: Layers
    x: Vector
    target: int
    deadline: float = np.inf
    told: Callable[[Vector, Answer, Kind], None] = lambda _eps, _answer, _kind: None
    witnesses: list[Vector] = field(default_factory=list)
    queries: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _robust: list[Vector] = field(default_factory=list)
    _unknown: list[Vector] = field(default_factory=list)
    _undecided: list[Vector] = field(default_factory=list)
    _weakest: dict[bytes, Vector] = field(default_factory=dict)

    def ask(self, eps: Vector, *, quick: bool = False) -> Answer:
        """Say whether a neighborhood is robust.

        Args:
            eps: (r + 1,) how far each layer may move, in [0, 1].
            quick: Whether to leave the complete search out; less is known then.

        Raises:
            OutOfTimeError: The deadline is over.
        """
        remembered = self._remembered(eps, quick=quick)
        if remembered is not None:
            self._count("remembered", 0.0)
            self.told(eps, remembered, "remembered")
            return remembered
        if time.monotonic() > self.deadline:
            raise OutOfTimeError
        box = self.layers.neighborhood(self.x, eps)
        starts = np.array(self.witnesses[-8:]) if self.witnesses else None
        verdict = self.verifier.verify(box, self.target, starts=starts, quick=quick)
        kind: Kind = "unknown" if verdict.answer == "unknown" else verdict.way
        self._count(kind, verdict.seconds)
        self._learn(eps, verdict, quick=quick)
        self.told(eps, verdict.answer, kind)
        return verdict.answer

    def witness(self, eps: Vector) -> Vector | None:
        """Return a witness in a neighborhood, among those that were met, or None."""
        return next((each for each in self.witnesses if self._within(each, eps)), None)

    def distances(self, witness: Vector) -> Vector:
        """Return how far an image is from the image, layer by layer: (r + 1,)."""
        return self.layers.largest(np.abs(witness - self.x))

    def slope(self, eps: Vector) -> Vector:
        """Return by how much the margin of the weakest point grows where a layer is opened: (r + 1,), >= 0.

        The weakest point is the image with the largest margin that the verifier met in the neighborhood, or
        the image itself where it was not asked; a pixel counts if it is not 0 or 1 already (Mour 2023,
        section 3).
        """
        weakest = self._weakest.get(eps.tobytes(), self.x)
        gradient = self._gradient(weakest)
        free = np.where(gradient > 0, weakest < 1, weakest > 0)
        return self.layers.total(np.abs(gradient) * free)

    def sensitivity(self) -> Vector:
        """Return the mean absolute gradient of the margin at the image over each layer: (r + 1,)."""
        return self.layers.mean(np.abs(self._gradient(self.x)))

    def _gradient(self, x: Vector) -> Vector:
        """Return the gradient of the margin at an image: (n,) -> (n,)."""
        logits = self.verifier.network(x[None])
        others = np.delete(np.arange(logits.shape[1]), self.target)
        rival = others[np.argsort(-logits[0, others])[self.verifier.top - 1]]
        weights = np.zeros_like(logits)
        weights[0, rival], weights[0, self.target] = 1, -1
        gradient: Vector = self.verifier.network.gradient(x[None], weights)[0]
        return gradient

    def _remembered(self, eps: Vector, *, quick: bool) -> Answer | None:
        if any(np.all(eps <= robust) for robust in self._robust):
            return "robust"
        if self.witness(eps) is not None:
            return "vulnerable"
        unknown = self._unknown + (self._undecided if quick else [])
        if any(np.array_equal(eps, each) for each in unknown):
            return "unknown"
        return None

    def _within(self, witness: Vector, eps: Vector) -> bool:
        return bool(np.all(self.distances(witness) <= eps))

    def _learn(self, eps: Vector, verdict: Verdict, *, quick: bool) -> None:
        self._weakest[eps.tobytes()] = verdict.weakest
        if verdict.answer == "robust":
            self._robust = [known for known in self._robust if not np.all(known <= eps)] + [eps.copy()]
        elif verdict.witness is None:
            (self._undecided if quick else self._unknown).append(eps.copy())
        else:
            self.witnesses.append(self._nearer(verdict.witness))
            proved = [known for known in self._robust if self._within(self.witnesses[-1], known)]
            if proved:
                _log.warning("A witness contradicts the proof of a neighborhood that has it; it is dropped.")
                self._robust = [known for known in self._robust if not any(known is each for each in proved)]

    def _nearer(self, witness: Vector) -> Vector:
        """Return a witness on the way from the image to this one, as near as a line search and layers allow.

        The nearer it is, the more neighborhoods it rules out.
        """
        of = np.tile(self.layers.of.ravel(), self.x.size // self.layers.of.size)
        for layer in range(self.layers.count):
            without = np.where(of == layer, self.x, witness)
            if self._breaks(without[None])[0]:
                witness = without
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self._breaks((self.x + middle * (witness - self.x))[None])[0]:
                high = middle
            else:
                low = middle
        nearer = self.x + high * (witness - self.x)
        return nearer if self._breaks(nearer[None])[0] else witness

    def _breaks(self, x: Matrix) -> NDArray[np.bool_]:
        return margins(self.verifier.network(x), self.target, self.verifier.top) >= 0

    def _count(self, kind: Kind, seconds: float) -> None:
        self.queries[kind] += 1
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds
