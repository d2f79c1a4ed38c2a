"""First individuals: recipes that a search begins with, gene paths with values."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema

from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Genome, Scalar
from moosearch.registry import Number, build
from moosearch.seeding import derive_seed, numpy_generator
from moosearch.space import Choice, Gene, Integer, Real, SearchSpace
from moosearch.space.files import option_label

FROM = "from"
"""The key of a recipe that says where it comes from, such as a paper or another campaign; any text."""

Recipe = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {FROM: {"type": "string"}},
            "additionalProperties": {"type": ["string", "number", "boolean", "array"]},
        }
    ),
]
"""Gene path -> value, as ``train --set`` takes them, and `FROM`."""


def complete(space: SearchSpace, recipes: Sequence[Mapping[str, Any]], place: Place) -> list[dict[str, Any]]:
    """Write out recipes with a value for every active gene; what comes twice is dropped.

    Args:
        space: The space whose genes they fill.
        recipes: Gene path -> value. An active gene that is not named takes its first option or the middle of
            its range, as in `moosearch.plan.single.single`.
        place: Where the list of them stands.

    Raises:
        SpecError: A gene is unknown or not active, or a value is none of its gene's.
    """
    found: dict[str, dict[str, Any]] = {}
    for index, recipe in enumerate(recipes):
        origin = recipe.get(FROM, "")
        if not isinstance(origin, str):
            raise place.child(index).child(FROM).error(f"got {origin!r}, expected a text.")
        candidate = space.candidate(_genome(space, recipe, place.child(index)))
        found.setdefault(candidate.id, ({FROM: origin} if origin else {}) | dict(candidate.genome))
    return list(found.values())


def genomes(space: SearchSpace, recipes: Sequence[Mapping[str, Any]], seed: int) -> tuple[Genome, ...]:
    """Return complete recipes with a value for every gene: those of inactive genes are drawn.

    A search may make inactive genes active, and would have all of them at one value otherwise.
    """
    generator = numpy_generator(derive_seed(seed, "initial"))
    return tuple(space.sample(generator) | without_origin(recipe) for recipe in recipes)


def without_origin(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the genes of a recipe."""
    return {path: value for path, value in recipe.items() if path != FROM}


def middle(gene: Gene) -> Scalar:
    """Return the value of a gene that nobody named: the first option, or the middle of the range."""
    if isinstance(gene, Choice):
        return gene.labels[0]
    return gene.decode((gene.encode(gene.low) + gene.encode(gene.high)) / 2)


def read_gene(gene: Gene, value: Any, place: Place) -> Scalar:
    """Return a value that somebody wrote as one of a gene's.

    Raises:
        SpecError: It is none; the message says what is allowed and what is nearest.
    """
    if isinstance(gene, Choice):
        label = option_of(gene, value)
        if label is None:
            shown = option_label(value)
            raise place.error(f"got {shown!r}, which is no option. {nearest(shown, map(str, gene.labels))}")
        return label
    number: float = build(Number if isinstance(gene, Real) else int, value, place)
    if not gene.contains(number):
        close = nearest_value(gene, number)
        raise place.error(f"got {value!r}, expected a value of {gene.to_tree()}; the nearest is {close!r}.")
    return number


def option_of(gene: Choice, value: Any) -> Scalar | None:
    """Return the label of a choice that a value means, by its text or as a number; None for none."""
    text = option_label(value)
    exact = next((label for label in gene.labels if str(label) == text), None)
    number = _number(value)
    if exact is not None or number is None:
        return exact
    return next((label for label in gene.labels if _number(label) == number), None)


def nearest_value(gene: Gene, value: Any) -> Scalar | None:
    """Return the value of a gene that is nearest to a number; None where nothing can be compared.

    Example:
        >>> nearest_value(Integer(2, 8, 2), 9.5), nearest_value(Choice((4, 16), (4, 16)), 12)
        (8, 16)
    """
    number = _number(value)
    if number is None:
        return None
    if isinstance(gene, Choice):
        numeric = {label: own for label in gene.labels if (own := _number(label)) is not None}
        return min(numeric, key=lambda label: abs(numeric[label] - number)) if numeric else None
    if gene.contains(number):
        return int(number) if isinstance(gene, Integer) else number
    return gene.decode(gene.encode(min(max(number, gene.low), gene.high)))


def _number(value: Any) -> float | None:
    try:
        number: float = build(Number, value)
    except SpecError:
        return None
    return number


def _genome(space: SearchSpace, recipe: Mapping[str, Any], place: Place) -> dict[str, Scalar]:
    genes = space.genes()
    genome = {path: middle(gene) for path, gene in genes.items()}
    named = {path.removeprefix("candidate."): path for path in recipe if path != FROM}
    for path, written in named.items():
        here = place.child(written)
        if path not in genes:
            raise here.error(f"no gene has this path. {nearest(path, genes)}")
        genome[path] = read_gene(genes[path], recipe[written], here)
    active = space.active(genome)
    for path, written in named.items():
        if path not in active:
            needed = ", ".join(f"{choice}={label}" for choice, label in _needed(path, genes).items())
            raise place.child(written).error(f"this gene is not active: name {needed} as well.")
    return genome


def _needed(path: str, genes: Mapping[str, Gene]) -> dict[str, Scalar]:
    """Return the choices under whose options a gene stands."""
    return {
        choice: label
        for choice, gene in genes.items()
        if isinstance(gene, Choice)
        for label in gene.labels
        if path.startswith(f"{choice}.{label}.")
    }
