"""Complete verification by a mixed integer program, whose solver is not taken at its word.

Solvers err: presolve of HiGHS 1.16.0 called a margin the largest that images of the box exceed. So what is
said with presolve is asked again without it, an image counts by what the network says of it, and the program
is tried at the best image that an attack found. Where anything disagrees, nothing is proved.
"""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from moosearch.verify import highs
from moosearch.verify.bounds import Relaxation
from moosearch.verify.falsify import margins
from moosearch.verify.piecewise import Vector
from moosearch.verify.program import encode
from moosearch.verify.searched import Searched

CLOSE = 1e-6
"""By how much, relatively, the solver's value of an image may differ from the network's."""

_log = logging.getLogger(__name__)


def solve(
    relaxation: Relaxation,
    target: int,
    others: Sequence[int],
    *,
    top: int,
    at_least: float,
    time_limit: float,
    known: Vector,
    until: float | None = 0.0,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Searched:
    """Look for an image of the box where ``top`` classes come within a margin of the target, or exceed it.

    That there is none is said only if the solver says so twice, with presolve and without, and is right about
    the image that is known.

    Args:
        relaxation: Network and box, bounded.
        target: The target's class.
        others: The classes that may exceed it; at least ``top`` of them.
        top: How many labels an image has.
        at_least: The margin that is asked for, a little below 0 to be on the safe side.
        time_limit: In seconds; the first half is for the answer with presolve.
        known: (n,) the image of the box with the largest margin that is known.
        until: Margin at which the search may end; None to go on to the largest.
        seed: Of the solver.
        clock: Tells the time, in seconds.

    Raises:
        MissingExtraError: The solver is not installed.
    """
    begun = clock()
    if time_limit <= 0:
        return Searched("unknown", None)
    network, box, claims = relaxation.network, relaxation.box, []
    program = encode(relaxation, target, others, top=top, at_least=at_least)
    for presolve, share in ((True, 0.5), (False, 1.0)):
        left = begun + share * time_limit - clock()
        if left <= 0:
            break
        claims.append(highs.run(program, presolve=presolve, time_limit=left, until=until, seed=seed))
        if claims[-1].kind in ("feasible", "undecided"):
            break  # nothing is claimed of all images
    images = [box.project(program.image(c.values, box.lower)) for c in claims if c.values is not None]
    reached = margins(network(np.array(images)), target, top) if images else np.zeros(0)
    best = float(margins(network(known[None])[:, [target, *others]], 0, top)[0])
    doubt = disagreement(claims, reached, best, at_least, program.upper[-1])
    if not doubt and not images and len(claims) == 2:
        left = begun + time_limit - clock()
        if left <= 0:
            return Searched("unknown", None)
        there = highs.run(program.at(known), presolve=False, time_limit=left, seed=seed)
        doubt = misjudged(there, best)
        if there.kind != "undecided" and not doubt:
            return Searched("none", None)
    if doubt:
        _log.warning("HiGHS contradicts %s; its proof does not count.", doubt)
    if images:
        return Searched("found", images[int(reached.argmax())])
    return Searched("unknown", None)


def disagreement(
    claims: Sequence[highs.Claim], reached: Vector, known: float, at_least: float, ceiling: float
) -> str:
    """Say what the solver's claims about all images contradict; empty where nothing.

    Args:
        claims: With presolve, and without.
        reached: (C,) the network's margins of the images that claims come with, in their order.
        known: The largest margin that is known.
        at_least: The margin that was asked for.
        ceiling: The largest margin that the relaxation allows.
    """
    largest = max(known, *reached) if len(reached) else known
    margins_ = iter(reached)
    for claim in claims:
        if claim.kind == "infeasible" and largest >= at_least:
            return f"an image of margin {largest:.9g}: it found none of {at_least:.9g} or more"
        if claim.values is None:
            continue
        value, margin = float(claim.values[-1]), float(next(margins_))
        if value > margin + CLOSE * (1 + abs(margin)):
            return f"the network: it said {value:.9g} of an image of margin {margin:.9g}"
        if max(value, margin) > ceiling + CLOSE * (1 + abs(ceiling)):
            return f"the bounds: it found {value:.9g}, and they allow {ceiling:.9g}"
        if claim.kind == "optimal" and largest > value + CLOSE * (1 + abs(value)):
            return f"an image of margin {largest:.9g}: it called {value:.9g} the largest"
    return ""


def misjudged(claim: highs.Claim, known: float) -> str:
    """Say whether the solver errs about a program of one image, whose margin is known; empty where not."""
    if claim.kind == "infeasible":
        return f"an image of margin {known:.9g}: its program allows no such image"
    value = known if claim.values is None else float(claim.values[-1])
    if claim.kind == "optimal" and abs(value - known) > CLOSE * (1 + abs(known)):
        return f"an image of margin {known:.9g}: it said {value:.9g} of it"
    return ""
