"""Is a target among the top labels of every image of a box? By attack, then bounds, then complete search."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moosearch.registry import Count, Positive
from moosearch.verify import milp
from moosearch.verify.bounds import Relaxation, differences
from moosearch.verify.box import Box
from moosearch.verify.branch import Branching, Cases
from moosearch.verify.falsify import attack, margins
from moosearch.verify.piecewise import Piecewise, Vector
from moosearch.verify.searched import Searched

Answer = Literal["robust", "vulnerable", "unknown"]
Way = Literal["attack", "bounds", "branching", "milp"]

TOLERANCE = 1e-6
"""A box is called robust where the target leads by more than this everywhere: more than the solver and
float64 can be wrong by."""


_log = logging.getLogger(__name__)

STARTS = 8
"""How many images, the worst that bounds allow, are attacked from."""


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
        complete: Whether a complete search is run where bounds are not enough: branch and bound, and from
            half of the time on a mixed integer program, which needs the extra ``verify``.
        time_limit: Of both together, in seconds a box.
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
        clock: Tells the time, in seconds.
        queries: How many boxes were answered, by way and answer.
        seconds: How long that took, by way.
    """

    network: Piecewise
    top: int = 1
    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter
    queries: Counter[tuple[Way, Answer]] = field(default_factory=Counter)
    seconds: dict[Way, float] = field(default_factory=dict)

    def verify(
        self, box: Box, target: int, *, starts: NDArray[np.float64] | None = None, quick: bool = False
    ) -> Verdict:
        """Say whether the target is among the top labels of every image of a box, ties being losses.

        Args:
            box: Images.
            target: Its class.
            starts: (S, n) images to attack from too, such as earlier witnesses.
            quick: Whether to leave the complete search out.
        """
        begun = self.clock()
        verdict = self._verify(box, target, starts, quick=quick)
        if verdict.answer == "robust" and verdict.margin >= -TOLERANCE:
            _log.warning("An image of margin %.9g contradicts a proof by %s.", verdict.margin, verdict.way)
            verdict = replace(verdict, answer="unknown")
        seconds = self.clock() - begun
        self.queries[verdict.way, verdict.answer] += 1
        self.seconds[verdict.way] = self.seconds.get(verdict.way, 0.0) + seconds
        return replace(verdict, seconds=seconds)

    def _verify(self, box: Box, target: int, starts: NDArray[np.float64] | None, *, quick: bool) -> Verdict:
        weakest, margin = self._attacked(box, target, self.effort.restarts, starts)
        if margin >= 0:
            return Verdict("vulnerable", "attack", weakest, weakest, margin)
        relaxation = Relaxation(self.network, box)
        rivals = self._rivals(relaxation, target)
        branching = Branching(relaxation, self._claims(target, rivals), below=-TOLERANCE)
        cases, worst = branching.root()
        if not len(cases):
            return Verdict("robust", "bounds", None, weakest, margin)
        again = self._attacked(box, target, 1, worst[:STARTS])
        weakest, margin = max((weakest, margin), again, key=lambda found: found[1])
        if margin >= 0:
            return Verdict("vulnerable", "attack", weakest, weakest, margin)
        unknown = Verdict("unknown", "bounds", None, weakest, margin)
        if quick or not self.effort.complete:
            return unknown
        way, found = self._searched(branching, cases, target, rivals, weakest)
        return self._judged(replace(unknown, way=way), found, target)

    def _judged(self, unknown: Verdict, found: Searched, target: int) -> Verdict:
        """Return what a complete search tells: an image counts if it fools the network itself."""
        if found.status == "none":
            return replace(unknown, answer="robust")
        if found.x is None:
            return unknown
        margin = float(margins(self.network(found.x[None]), target, self.top)[0])
        if margin < 0:
            return unknown
        return Verdict("vulnerable", unknown.way, found.x, found.x, margin)

    def _attacked(
        self, box: Box, target: int, restarts: int, starts: NDArray[np.float64] | None
    ) -> tuple[Vector, float]:
        """Return the image of the box with the largest margin that an attack finds, and its margin."""
        return attack(
            self.network,
            box,
            target,
            top=self.top,
            restarts=restarts,
            steps=self.effort.steps,
            generator=np.random.default_rng(self.seed),
            starts=starts,
        )

    def _searched(
        self, branching: Branching, cases: Cases, target: int, rivals: list[int], weakest: Vector
    ) -> tuple[Way, Searched]:
        """Search completely: by branch and bound, and for the second half of the time by a program."""
        begun, limit = self.clock(), self.effort.time_limit
        searched = branching.search(cases, target, self.top, begun + limit / 2, clock=self.clock)
        if searched.status != "unknown":
            return "branching", searched
        return "milp", milp.solve(
            branching.relaxation,
            target,
            rivals,
            top=self.top,
            at_least=-TOLERANCE,
            time_limit=begun + limit - self.clock(),
            known=weakest,
            seed=self.seed,
            clock=self.clock,
        )

    def _claims(self, target: int, rivals: list[int]) -> NDArray[np.float64]:
        """Return, for as many classes as there are labels, their differences: one is to be negative."""
        classes = self.network.classes
        claims = [differences(classes, target, some) for some in combinations(rivals, self.top)]
        return np.array(claims).reshape(-1, self.top, classes)

    def _rivals(self, relaxation: Relaxation, target: int) -> list[int]:
        """Return the classes whose logit may come up to the target's."""
        others = [number for number in range(self.network.classes) if number != target]
        highest = relaxation.upper(differences(self.network.classes, target, others))
        return [other for other, high in zip(others, highest, strict=True) if high >= -TOLERANCE]
