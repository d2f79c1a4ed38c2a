"""Is a target among the top labels of every image of a box? By attack, then bounds, then complete search."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moosearch.registry import Count, Positive
from moosearch.verify import milp
from moosearch.verify.bounds import Relaxation, differences
from moosearch.verify.box import Box
from moosearch.verify.falsify import attack, margins
from moosearch.verify.piecewise import Piecewise, Vector

Answer = Literal["robust", "vulnerable", "unknown"]
Way = Literal["attack", "bounds", "milp"]

TOLERANCE = 1e-6
"""A box is called robust where the target leads by more than this everywhere: more than the solver and
float64 can be wrong by."""

WEIGHTS = np.linspace(0, 1, 9)
"""Weights of a pair of classes: the smaller of two differences is at most any mean of them."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a box.

    Attributes:
        answer: ``robust`` is a proof; ``vulnerable`` comes with a witness; ``unknown`` is neither.
        way: What gave the answer.
        witness: (n,) an image of the box, on which the network was run again in float64 and whose target is
            not among its top labels; None where there is none.
        weakest: (n,) the image with the largest margin that was met, the witness if there is one.
        margin: Its margin, see `margins`: 0 or more for a witness.
        seconds: Wall-clock time.
    """

    answer: Answer
    way: Way
    witness: Vector | None
    weakest: Vector
    margin: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Effort:
    """How hard verification tries.

    Attributes:
        restarts: Starts of the attack.
        steps: Steps of each.
        complete: Whether the complete search is run where bounds are not enough.
        time_limit: Of the complete search, in seconds a box.
    """

    restarts: Count = 8
    steps: Count = 40
    complete: bool = True
    time_limit: Positive = 60.0


@dataclass
class Verifier:
    """Verifies boxes of one network.

    Attributes:
        network: The network.
        top: How many labels an image has: 1 for ordinary classification.
        effort: How hard it tries.
        seed: Decides the attack's random starts.
        queries: How many boxes were answered, by way and answer.
        seconds: How long that took, by way.
    """

    network: Piecewise
    top: int = 1
    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    queries: Counter[tuple[Way, Answer]] = field(default_factory=Counter)
    seconds: dict[Way, float] = field(default_factory=dict)

    def verify(self, box: Box, target: int, *, starts: NDArray[np.float64] | None = None) -> Verdict:
        """Say whether the target is among the top labels of every image of a box, ties being losses.

        Args:
            box: Images.
            target: Its class.
            starts: (S, n) images to attack from too, such as earlier witnesses.
        """
        begun = time.perf_counter()
        verdict = self._verify(box, target, starts)
        seconds = time.perf_counter() - begun
        self.queries[verdict.way, verdict.answer] += 1
        self.seconds[verdict.way] = self.seconds.get(verdict.way, 0.0) + seconds
        return replace(verdict, seconds=seconds)

    def _verify(self, box: Box, target: int, starts: NDArray[np.float64] | None) -> Verdict:
        weakest, margin = attack(
            self.network,
            box,
            target,
            top=self.top,
            restarts=self.effort.restarts,
            steps=self.effort.steps,
            generator=np.random.default_rng(self.seed),
            starts=starts,
        )
        if margin >= 0:
            return Verdict("vulnerable", "attack", weakest, weakest, margin)
        relaxation = Relaxation(self.network, box)
        rivals = self._rivals(relaxation, target)
        if len(rivals) < self.top or self._pairs_cleared(relaxation, target, rivals):
            return Verdict("robust", "bounds", None, weakest, margin)
        if not self.effort.complete:
            return Verdict("unknown", "bounds", None, weakest, margin)
        solved = milp.solve(
            relaxation,
            target,
            rivals,
            top=self.top,
            at_least=-TOLERANCE,
            time_limit=self.effort.time_limit,
            seed=self.seed,
        )
        if solved.status == "none":
            return Verdict("robust", "milp", None, weakest, margin)
        if solved.x is not None:
            reached = float(margins(self.network(solved.x[None]), target, self.top)[0])
            if reached >= 0:
                return Verdict("vulnerable", "milp", solved.x, solved.x, reached)
        return Verdict("unknown", "milp", None, weakest, margin)

    def _rivals(self, relaxation: Relaxation, target: int) -> list[int]:
        """Return the classes whose logit may come up to the target's."""
        others = [number for number in range(self.network.classes) if number != target]
        highest = relaxation.upper(differences(self.network.classes, target, others))
        return [other for other, high in zip(others, highest, strict=True) if high >= -TOLERANCE]

    def _pairs_cleared(self, relaxation: Relaxation, target: int, rivals: list[int]) -> bool:
        """Whether no two classes can exceed the target at once, where an image has two labels."""
        if self.top != 2:
            return False
        for pair in combinations(rivals, 2):
            rows = differences(self.network.classes, target, pair)
            means = np.outer(1 - WEIGHTS, rows[0]) + np.outer(WEIGHTS, rows[1])
            if relaxation.upper(means).min() >= -TOLERANCE:
                return False
        return True
