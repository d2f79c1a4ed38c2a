"""What can be said of genes in words: what makes a difference, what makes none, what spread by chance."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from moosearch.analysis.gene_columns import Column
from moosearch.analysis.gene_drift import Spread, spreads
from moosearch.analysis.gene_effects import Effect, Effects, Scale, gene_effects, seed_noise
from moosearch.analysis.importance import FEWEST, MOST, describe_genes, drawn
from moosearch.campaign.confirmation import Confirmation
from moosearch.campaign.header import Header
from moosearch.campaign.tables import records
from moosearch.evaluation import Evaluation
from moosearch.judgment import Measure
from moosearch.seeding import derive_seed, numpy_generator

MOST_TESTED = 200
"""Candidates that tests use at most, drawn at random: time grows with the third power."""
BREEDING = ("nsga2", "steady_nsga2")
"""Algorithms whose candidates have ancestors."""
COUNTED = ("FLOP", "parameters", "byte")
"""Units of objectives that are counted, not measured: there is no noise that a difference could hide in."""
BY_CHANCE = 0.05
"""The share of simulations below which chance does not explain that an option is so frequent."""


@dataclass(frozen=True)
class Findings:
    """What can be said of the genes of a campaign.

    Attributes:
        effects: Tests of every gene for every objective; empty where there are too few candidates.
        drift: Options that dominate in a search with descent.
        lines: All of it in sentences.
    """

    effects: Effects
    drift: tuple[Spread, ...]
    lines: tuple[str, ...]

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data, as JSON has it: NaN is None."""
        return {
            "effects": records(pd.DataFrame(self.effects.effects)),
            "objectives": records(pd.DataFrame(self.effects.scales)),
            "drift": [asdict(spread) for spread in self.drift],
            "findings": list(self.lines),
        }


def gene_findings(
    evaluations: Sequence[Evaluation], header: Header, confirmation: Confirmation | None = None, seed: int = 0
) -> Findings:
    """Test every gene, look for drift, and say what was found.

    Args:
        evaluations: Of one campaign.
        header: Of the campaign.
        confirmation: Where there is one, it says how much trainings differ by their seed.
        seed: Of permutations, simulations, and of which candidates are used where there are too many.
    """
    complete = [e for e in evaluations if e.status == "complete"]
    keys = [o.key for o in header.objectives]
    if len(complete) < FEWEST:
        few = (
            f"nothing can be told from noise: too few candidates, {len(complete)} of {FEWEST} that are needed"
        )
        return Findings(Effects((), ()), (), (few,))
    noise = {**confirmed_noise(confirmation, keys), **seed_noise(complete, keys)}
    used = drawn(complete, MOST_TESTED, derive_seed(seed, "effects: candidates"))
    values = {key: np.array([e.objectives[key] for e in used]) for key in keys}
    columns = _columns(used)
    if not columns:
        return Findings(Effects((), ()), (), ("nothing can be told from noise: every gene has one value",))
    effects = gene_effects(columns, values, noise=noise, seed=seed)
    drift: list[Spread] = []
    if header.algorithm in BREEDING:
        some = drawn(evaluations, MOST, derive_seed(seed, "drift: candidates"))
        generator = numpy_generator(derive_seed(seed, "drift"))
        drift = spreads(_columns(some), [e.generation for e in some], generator)
    counted = {info.key for info in header.objectives if info.unit in COUNTED}
    lines = [
        line
        for scale in effects.scales
        for line in _objective(scale, effects, counted=scale.objective in counted)
    ]
    lines += [_drifted(spread, effects) for spread in drift]
    return Findings(effects, tuple(drift), tuple(lines))


def _columns(evaluations: Sequence[Evaluation]) -> list[Column]:
    genes = describe_genes(evaluations)
    return [Column.of(path, evaluations) for path in genes.index[genes["values"] > 1]]


def confirmed_noise(confirmation: Confirmation | None, keys: Sequence[str]) -> dict[str, float]:
    """Return the standard deviation over the seeds of confirmed members, where several were trained."""
    found = {}
    for key in keys:
        spreads_ = [
            member.measured.get(Measure("as_searched", key)) or member.confirmed_value(key)
            for member in (() if confirmation is None else confirmation.members)
            if len(member.complete) > 1
        ]
        variances = [spread.std**2 for spread in spreads_ if spread is not None]
        if variances:
            found[key] = math.sqrt(sum(variances) / len(variances))
    return found


def _objective(scale: Scale, effects: Effects, *, counted: bool = False) -> Iterator[str]:
    """Say what is known of an objective; nothing of genes that cannot matter where it is counted."""
    key, ratio = scale.objective, scale.ratio
    here = [effect for effect in effects.effects if effect.objective == key]
    known = "" if math.isnan(scale.noise) else f"; trainings differ by {scale.noise:.2g} with their seed"
    found = sorted((e for e in here if e.verdict == "difference"), key=lambda e: -e.difference)
    if found:
        verb, alone = ("makes", "it predicts") if len(found) == 1 else ("make", "they predict")
        how = "counted, not measured; " if counted else ""
        yield (
            f"{key}: {how}{_listed([e.gene for e in found])} {verb} a difference. Alone {alone} "
            f"{scale.r2_different:.2f} of its variance for candidates left out, all genes together "
            f"{scale.r2:.2f}{known}."
        )
        for e in found:
            told = _difference(e, ratio=ratio)
            yield f"{key}: {e.gene} = {e.high} is {told} {e.low} (95 %), p = {e.p:.2g}."
    else:
        noise = "" if counted else " from noise"
        yield f"{key}: no gene makes a difference that can be told{noise}{known}."
    if counted:  # whether a gene under the same node matters may be unknown; others need no word
        nodes = {e.gene.split(".")[0] for e in found}
        here = [e for e in here if e.verdict == "unknown" and e.gene.split(".")[0] in nodes]
    none = [f"{e.gene} ({_size(e, ratio=ratio)})" for e in here if e.verdict == "none"]
    if none:
        yield f"{key}: no difference that can be told from noise, and none beyond (95 %): {', '.join(none)}."
    unknown = [f"{e.gene} ({_size(e, ratio=ratio)})" for e in here if e.verdict == "unknown"]
    if unknown:
        yield (
            f"{key}: cannot be told, there are too few candidates (in brackets what is not excluded): "
            f"{', '.join(unknown)}."
        )


def _size(effect: Effect, *, ratio: bool) -> str:
    if math.isnan(effect.bound):
        return "too rare to compare"
    return f"{math.exp(effect.bound):.3g} times" if ratio else f"{effect.bound:.2g}"


def _difference(effect: Effect, *, ratio: bool) -> str:
    if ratio:
        low, middle, high = (math.exp(effect.difference + sign * effect.margin) for sign in (-1, 0, 1))
        return f"{middle:.3g} ({low:.3g} to {high:.3g}) times that of"
    return f"{effect.difference:.2g} ± {effect.margin:.2g} above"


def _drifted(spread: Spread, effects: Effects) -> str:
    here = [effect for effect in effects.effects if effect.gene == spread.gene]
    helps = [effect.objective for effect in here if effect.verdict == "difference"]
    told = f"{spread.candidates} of {spread.of} candidates have {spread.gene} = {spread.option}"
    grown = f"{spread.first:.0%} of the first generation have it, {spread.last:.0%} of the last one"
    chance = f"an option that nothing selects spreads as much in {spread.chance:.0%} of simulations"
    if helps:
        return f"{told}; the gene makes a difference in {_listed(helps)}. {grown}."
    if spread.chance >= BY_CHANCE:
        return (
            f"{told}, but nothing shows that it helps: its share also grows when nothing is selected "
            f"(genetic drift). {grown}; {chance}."
        )
    return (
        f"{told}, more than drift explains, though no test shows that it helps: a small advantage, or other "
        f"genes of the same ancestors. {grown}; {chance}."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
