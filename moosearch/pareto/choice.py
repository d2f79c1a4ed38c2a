"""Rules that choose a member of a front, as text, and why they chose it, in words.

The same names serve the command line, Python and the report; the maths is in `moosearch.pareto.decision`.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto import decision
from moosearch.pareto.dominance import Array
from moosearch.pareto.members import Members
from moosearch.registry import NonNegative, build
from moosearch.text import counted, value_text

if TYPE_CHECKING:
    import pandas as pd

WEIGHTED = ("asf", "pseudo_weights", "compromise")
TOLERANCE = "1%"
"""Of an objective's range, in a lexicographic order that names no objectives."""
RULES = {
    "knee": "most in all objectives at once: farthest from the plane through the extremes",
    "tradeoff": "where leaving costs most: the highest ratio of what is lost to what is gained",
    "best:OBJECTIVE": "the best in one objective",
    "asf:OBJECTIVE=WEIGHT,...": "the least of the largest weighted shortfall from the best of each objective",
    "pseudo_weights:OBJECTIVE=WEIGHT,...": "whose strengths are divided as the weights are",
    "compromise:OBJECTIVE=WEIGHT,...": "nearest to the best of each objective, by weighted distance",
    "lexicographic:OBJECTIVE~TOLERANCE,...": "one objective after the other, each within a tolerance",
    "ID": "a member, by its id or the beginning of it",
}
"""Every rule and what it means. Without objectives, all weigh the same, or come in the campaign's order."""


@dataclass(frozen=True, repr=False)
class Choice:
    """A member that a rule chose.

    Attributes:
        rule: The rule, as `Front.choose` takes it.
        evaluation: Whom it chose.
        why: One line with numbers: what decided, and how the member compares with the best of each objective.
    """

    rule: str
    evaluation: Evaluation
    why: str

    def __repr__(self) -> str:
        """Write it without the whole evaluation."""
        return f"Choice({self.rule!r}, {self.evaluation.candidate.id!r}, {self.why!r})"

    def __str__(self) -> str:
        """Write it as one line."""
        return f"{self.rule}: {self.evaluation.candidate.id}: {self.why}"

    def _repr_html_(self) -> str:
        rule, identity, why = map(html.escape, (self.rule, self.evaluation.candidate.id, self.why))
        return f"<p><b>{rule}</b> <code>{identity}</code> {why}</p>"


def choose(front: Members, rule: str) -> Choice:
    """Choose a member by rule; see `RULES`.

    Raises:
        SpecError: The rule is unknown, names no objective, or fits no member or several.
    """
    rule = rule.strip()
    name, colon, given = rule.partition(":")
    if name in ("knee", "tradeoff", *WEIGHTED, "lexicographic", "best") and not front.members:
        raise SpecError("the front is empty: no candidate completed and kept the constraints.")
    if rule == "knee":
        index, reason = _knee(front)
    elif rule == "tradeoff":
        index, reason = _tradeoff(front)
    elif name == "best" and colon:
        index, reason = _best(front, given.strip())
    elif name in WEIGHTED:
        index, reason = _weighted(front, name, given, named=bool(colon))
    elif name == "lexicographic":
        index, reason = _lexicographic(front, given, named=bool(colon))
    else:
        index, reason = _member(front, rule), "asked for by its id"
    told = given.strip() if name == "best" else ""
    compared = _compared(front, index, told)
    return Choice(rule, front.members[index], f"{reason}; {compared}" if compared else reason)


def default_rules(objectives: Sequence[ObjectiveInfo]) -> list[str]:
    """Return every rule that needs nothing from the user.

    Where no objectives are named, all weigh the same, or come in the campaign's order with a tolerance of 1 %
    of the front's range.
    """
    return ["knee", "tradeoff", *(f"best:{info.key}" for info in objectives), *WEIGHTED, "lexicographic"]


def to_frame(choices: Iterable[Choice], objectives: Sequence[ObjectiveInfo]) -> "pd.DataFrame":
    """Return a pandas frame of choices: rule, id, objectives, why."""
    import pandas as pd

    keys = [info.key for info in objectives]
    rows = [
        {"rule": c.rule, "id": c.evaluation.candidate.id}
        | {key: c.evaluation.objectives[key] for key in keys}
        | {"why": c.why}
        for c in choices
    ]
    return pd.DataFrame(rows, columns=["rule", "id", *keys, "why"])


def amounts(
    text: str, objectives: Sequence[ObjectiveInfo], place: Place, sign: str = "="
) -> dict[str, str | None]:
    """Read ``OBJECTIVE=AMOUNT,...``; an amount that is not given is None.

    Raises:
        SpecError: An objective is unknown, or named twice.
    """
    keys = [info.key for info in objectives]
    found: dict[str, str | None] = {}
    for part in text.split(","):
        key, given, amount = (piece.strip() for piece in part.partition(sign))
        if key not in keys:
            raise place.error(f"no objective is called '{key}'. {nearest(key, keys)}")
        if key in found:
            raise place.error(f"'{key}' is named twice.")
        found[key] = amount if given else None
    return found


def in_units(amount: str, values: Sequence[float], place: Place) -> float:
    """Read an amount of an objective: a number in its unit, or ``2%`` of the range of the values.

    Raises:
        SpecError: It is none, or negative.
    """
    number: float = build(NonNegative, amount.removesuffix("%"), place)
    return number / 100 * float(np.ptp(values)) if amount.endswith("%") else number


def _knee(front: Members) -> tuple[int, str]:
    heights = decision.heights(front.exact_losses)
    index = int(np.argmin(heights))
    kept = 1 - heights[index] / len(front.objectives)
    mean = 1 - heights.mean() / len(front.objectives)
    way = f"on average {kept:.0%} of the way from the front's worst to its best"
    return index, f"{way} (the mean member {mean:.0%})"


def _tradeoff(front: Members) -> tuple[int, str]:
    ratios = decision.tradeoffs(front.exact_losses)
    index = int(np.argmax(ratios))
    if np.isinf(ratios[index]):
        return index, "no other member gains anything"
    return (
        index,
        f"every other member loses at least {ratios[index]:.3g} times what it gains, in shares of ranges",
    )


def _best(front: Members, key: str) -> tuple[int, str]:
    column = _column(front, key)
    losses = front.exact_losses[:, column]
    index = int(np.argmin(losses))
    word = _best_word(front.objectives[column])
    reason = f"the {word} {key}, {value_text(front.members[index].objectives[key])}"
    others = [(loss, e) for row, (loss, e) in enumerate(zip(losses, front, strict=True)) if row != index]
    if others:
        second = min(others, key=lambda pair: pair[0])[1]
        value = value_text(second.objectives[key])
        tied = second.objectives[key] == front.members[index].objectives[key]
        reason += f", as has {second.candidate.id}" if tied else f", before {value} of {second.candidate.id}"
    return index, reason


def _weighted(front: Members, name: str, given: str, *, named: bool) -> tuple[int, str]:
    """Choose by weights: objectives that are not named weigh nothing."""
    weights = _weights(front, name, given) if named else dict.fromkeys((o.key for o in front.objectives), 1.0)
    keys = [info.key for info in front.objectives]
    importances = [weights.get(key, 0.0) for key in keys]
    losses = front.exact_losses
    measure = {
        "asf": decision.achievements,
        "pseudo_weights": decision.mismatches,
        "compromise": decision.distances,
    }[name]
    values = measure(losses, importances)
    index = int(np.argmin(values))
    if not np.ptp(losses, axis=0).any():
        return index, "all members are alike"
    if name == "pseudo_weights":
        had = decision.pseudo_weights(losses)[index]
        asked = decision.shares(importances)
        return index, f"its strengths are {_divided(keys, had)}; asked for {_divided(keys, asked)}"
    if name == "compromise":
        return (
            index,
            f"nearest to the best of each, at {values[index]:.3g} of the ranges{_next(values, index)}",
        )
    shortfalls = decision.scaled(losses)[index] * decision.shares(importances)
    worst = int(np.argmax(shortfalls))
    largest = f"largest weighted shortfall {shortfalls[worst]:.3g} of a range, in {keys[worst]}"
    return (
        index,
        f"{largest if shortfalls[worst] > 0 else 'the best in all that counts'}{_next(values, index)}",
    )


def _next(values: Array, index: int) -> str:
    rest = np.delete(values, index)
    return f" (next {rest.min():.3g})" if len(rest) else ""


def _divided(keys: Sequence[str], shares: Array) -> str:
    return ", ".join(f"{key} {share:.0%}" for key, share in zip(keys, shares, strict=True))


def _weights(front: Members, name: str, given: str) -> dict[str, float]:
    place = Place(shown=(name,))
    weights = {}
    for key, amount in amounts(given, front.objectives, place).items():
        if amount is None:
            raise place.error(f"got '{key}', expected OBJECTIVE=WEIGHT.")
        weights[key] = build(NonNegative, amount, place.child(key))
    if not any(weights.values()):
        raise place.error("expected a weight > 0.")
    return weights


def _lexicographic(front: Members, given: str, *, named: bool) -> tuple[int, str]:
    """Choose by order: objectives that are not named come last, without tolerance."""
    place = Place(shown=("lexicographic",))
    keys = [info.key for info in front.objectives]
    asked = amounts(given, front.objectives, place, "~") if named else dict.fromkeys(keys, TOLERANCE)
    order = [*asked, *(key for key in keys if key not in asked)]
    tolerances = [_tolerance(front, key, asked.get(key), place.child(key)) for key in order]
    columns = [keys.index(key) for key in order]
    losses = front.exact_losses
    scales = [abs(front.objectives[column].ideal - front.objectives[column].reference) for column in columns]
    sizes = [tolerance / scale for tolerance, scale in zip(tolerances, scales, strict=True)]
    stages = decision.lexicographic(losses, columns, sizes)
    index = int(stages[-1][0])
    steps, before = [], np.arange(len(front))
    for column, tolerance, left in zip(columns, tolerances, stages, strict=True):
        if len(before) > 1:
            info = front.objectives[column]
            best = before[np.argmin(losses[before, column])]
            value = value_text(front.members[best].objectives[info.key])
            within = f"within {value_text(tolerance)} of" if tolerance else "at"
            steps.append(f"{info.key} {within} {value} leaves {len(left)} of {len(before)}")
        before = left
    return index, ", ".join(steps) or "the only member"


def _tolerance(front: Members, key: str, amount: str | None, place: Place) -> float:
    return in_units(amount, [e.objectives[key] for e in front], place) if amount is not None else 0.0


def _member(front: Members, rule: str) -> int:
    found = [index for index, e in enumerate(front) if rule and e.candidate.id.startswith(rule)]
    if len(found) == 1:
        return found[0]
    why = f"fits {counted(len(found), 'member')}" if found else "is neither a rule nor a member's id"
    raise SpecError(
        f"'{rule}' {why} of the front. {nearest(rule.partition(':')[0], default_rules(front.objectives))}"
    )


def _column(front: Members, key: str) -> int:
    keys = [info.key for info in front.objectives]
    if key not in keys:
        raise SpecError(f"no objective is called '{key}'. {nearest(key, keys)}")
    return keys.index(key)


def _best_word(info: ObjectiveInfo) -> str:
    return "highest" if info.sense == "maximize" else "lowest"


def _compared(front: Members, index: int, told: str) -> str:
    """Compare a member with the best of the front in each objective but one that was told of."""
    parts = []
    for info in front.objectives:
        if info.key == told:
            continue
        values = [e.objectives[info.key] for e in front]
        value = values[index]
        best = max(values) if info.sense == "maximize" else min(values)
        if value == best:
            parts.append(f"{_best_word(info)} {info.key}")
        elif info.unit != "fraction" and best > 0 and info.sense == "minimize":
            parts.append(f"{value / best:.3g} times the lowest {info.key}")
        else:
            side = "below the highest" if info.sense == "maximize" else "above the lowest"
            parts.append(f"{value_text(abs(value - best))} {side} {info.key}")
    return ", ".join(parts)
