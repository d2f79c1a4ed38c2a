"""Fewer members of a front: those that keep bounds, and one of those that are nearly alike."""

from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Constraint, Evaluation
from moosearch.pareto import decision
from moosearch.pareto.choice import amounts, in_units
from moosearch.pareto.members import Members
from moosearch.registry import NonNegative, build
from moosearch.text import value_text


def where(front: Members, text: str) -> tuple[Evaluation, ...]:
    """Keep the members that keep every bound; see `Front.where`.

    Raises:
        SpecError: It is not a list of bounds, a name is not measured, or no member keeps them all.
    """
    place = Place(shown=("where",))
    bounds = [Constraint.parse(part, place) for part in text.split(",")]
    measured = [{**e.objectives, **e.metrics} for e in front]
    known = set(measured[0]).intersection(*measured) if measured else {o.key for o in front.objectives}
    for bound in bounds:
        if bound.key not in known:
            raise place.error(f"nothing is measured as '{bound.key}'. {nearest(bound.key, known)}")
    kept = [
        e
        for e, values in zip(front, measured, strict=True)
        if all(bound.violation(values[bound.key]) <= 0 for bound in bounds)
    ]
    if measured and not kept:
        reached = []
        for bound in bounds:
            values = [each[bound.key] for each in measured]
            best = max(values) if bound.relation == ">=" else min(values)
            reached.append(f"{bound} (reached: {value_text(best)})")
        raise SpecError(f"no member of the front keeps {' and '.join(reached)}.")
    return tuple(kept)


def thin(front: Members, epsilons: float | str) -> tuple[Evaluation, ...]:
    """Keep one member of those that are nearly alike; see `Front.thin`.

    Raises:
        SpecError: It is not a number or a list of amounts, or an objective is unknown.
    """
    place, text = Place(shown=("thin",)), str(epsilons)
    keys = [info.key for info in front.objectives]
    if "=" in text:
        given = amounts(text, front.objectives, place)
        missing = [key for key, amount in given.items() if amount is None]
        if missing:
            raise place.error(f"got '{missing[0]}', expected OBJECTIVE=AMOUNT.")
    else:
        share = build(NonNegative, text.strip().removesuffix("%"), place) * (1 if "%" in text else 100)
        given = dict.fromkeys(keys, f"{share!r}%")
    if not front.members:
        return ()
    sizes = []
    for info in front.objectives:
        amount = given.get(info.key, "0") or ""
        size = in_units(amount, [e.objectives[info.key] for e in front], place.child(info.key))
        sizes.append(size / abs(info.ideal - info.reference))
    kept = decision.thinned(front.exact_losses, sizes)
    return tuple(front.members[row] for row in kept)
