"""A search that begins with the front of another campaign: its genomes in this space, never its weights.

What the other campaign measured is not taken over: another space, seed or data set would make it another
number, so every recipe is evaluated again, the same candidate with the same seed too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moosearch.campaign.campaign import Campaign
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation, Scalar
from moosearch.pareto.spread import spread
from moosearch.plan.recipes import FROM, middle, nearest_value, option_of, without_origin
from moosearch.space import Choice, Integer, Real, SearchSpace
from moosearch.space.files import option_label
from moosearch.text import counted

_UNKNOWN = object()
"""What stands where a recipe of another space says nothing."""


@dataclass(frozen=True)
class Taken:
    """What became of one gene of one recipe.

    Attributes:
        gene: Its path.
        old: Its value in the other campaign; None where that has none.
        new: Its value here.
    """

    gene: str
    old: Scalar | None
    new: Scalar

    @property
    def kind(self) -> str:
        """``taken`` as it is, ``changed`` to what is allowed here, or ``filled`` as in any recipe."""
        if self.old is None:
            return "filled"
        return "taken" if self.old == self.new else "changed"


@dataclass(frozen=True)
class WarmStart:
    """The front of another campaign as recipes of this space.

    Attributes:
        name: The other campaign's name.
        folder: Its folder.
        front: How many members its front has.
        recipes: Those that were taken, with every active gene and where they come from.
        genes: What became of each gene of each recipe.
        left_out: Genes of the other campaign that nothing here takes -> in how many recipes.
    """

    name: str
    folder: str
    front: int
    recipes: tuple[Mapping[str, Any], ...]
    genes: tuple[Taken, ...]
    left_out: Mapping[str, int]

    def lines(self) -> list[str]:
        """Say what was taken, changed and left out, a line a gene."""
        count = len(self.recipes)
        whose = (
            "its whole front" if count == self.front else f"those of its front's {self.front} farthest apart"
        )
        lines = [
            f"warm start from {self.name} ({self.folder}): {counted(count, 'recipe')}, {whose}; "
            "trained again here"
        ]
        paths = dict.fromkeys(taken.gene for taken in self.genes)
        width = max(map(len, [*paths, *self.left_out]), default=0)
        for path in paths:
            own = [taken for taken in self.genes if taken.gene == path]
            counts = Counter(taken.kind for taken in own)
            told = [f"taken {counts['taken']}"] if counts["taken"] else []
            changes = Counter(f"{_text(t.old)} -> {_text(t.new)}" for t in own if t.kind == "changed")
            told += [f"changed {counts['changed']}: {_some(changes)}"] if changes else []
            values = Counter(_text(t.new) for t in own if t.kind == "filled")
            told += [f"filled {counts['filled']}: {_some(values)}"] if values else []
            lines.append(f"  {path:{width}}  {'; '.join(told)}")
        lines += [
            f"  {path:{width}}  left out {n}: nothing here takes it" for path, n in self.left_out.items()
        ]
        different = len({tuple(sorted(without_origin(recipe).items())) for recipe in self.recipes})
        if different < count:
            lines.append(f"  some are the same here: of different recipes there are {different}")
        return lines


def warm_start(space: SearchSpace, folder: Path | str, count: int) -> WarmStart:
    """Translate the front of a campaign to recipes of a space.

    A value is taken where the gene of the same path allows it, or where the other campaign had it fixed at
    that path; a number that is not allowed becomes the nearest one that is, and what says nothing here is
    filled with the first option or the middle of the range.

    Args:
        space: The space to search.
        folder: The other campaign's folder.
        count: How many recipes at most; of more members, those that lie farthest apart.

    Raises:
        CampaignError: There is no campaign in the folder, or its front is empty.
    """
    campaign = Campaign(folder)
    front = campaign.front
    if not front.members:
        raise CampaignError(
            f"{campaign.folder.root}: cannot be started from: its front is empty, no candidate completed and "
            "kept the constraints."
        )
    members = [front.members[index] for index in spread(front.losses, count)]
    return translated(space, members, campaign.header.name, str(campaign.folder.root), len(front))


def translated(
    space: SearchSpace, members: Sequence[Evaluation], name: str, folder: str, front: int
) -> WarmStart:
    """Translate candidates of another space; see `warm_start`."""
    recipes: list[Mapping[str, Any]] = []
    genes: list[Taken] = []
    left: Counter[str] = Counter()
    for member in members:
        candidate = member.candidate
        own = list(_walk(space.tree, candidate.genome, candidate.spec, ()))
        recipes.append({FROM: f"{name}/{candidate.id}", **{taken.gene: taken.new for taken in own}})
        genes += own
        known = {taken.gene for taken in own if taken.old is not None}
        left.update(path for path in candidate.genome if path not in known)
    return WarmStart(name, folder, front, tuple(recipes), tuple(genes), dict(left))


def _walk(node: Any, genome: Mapping[str, Scalar], spec: Any, path: tuple[str, ...]) -> Iterator[Taken]:
    """Yield every gene that is active once those before it have their values.

    Args:
        node: A part of this space.
        genome: The other candidate's active genes.
        spec: The part of its filled spec that stands at the same place, or `_UNKNOWN`.
        path: Keys and labels down to the part.
    """
    name = ".".join(path)
    if isinstance(node, Choice):
        old = genome.get(name, _label(spec))
        label = _option(node, old, spec)
        yield Taken(name, old, middle(node) if label is None else label)
        chosen = middle(node) if label is None else label
        below = spec if label is not None else _UNKNOWN
        yield from _walk(node.option(chosen), genome, below, (*path, str(chosen)))
    elif isinstance(node, Real | Integer):
        old = genome.get(name, _label(spec))
        value = nearest_value(node, old)
        yield Taken(name, old if value is not None else None, middle(node) if value is None else value)
    elif isinstance(node, Mapping):
        for key, part in node.items():
            below = spec.get(key, _UNKNOWN) if isinstance(spec, Mapping) else _UNKNOWN
            yield from _walk(part, genome, below, (*path, key))
    elif isinstance(node, list):
        for index, part in enumerate(node):
            known = isinstance(spec, list | tuple) and index < len(spec)
            yield from _walk(part, genome, spec[index] if known else _UNKNOWN, (*path, str(index)))


def _label(spec: Any) -> Scalar | None:
    """Return what a part of a filled spec is called as an option; None where nothing is known."""
    if spec is _UNKNOWN or spec is None:
        return None
    return spec if isinstance(spec, str | int | float) else option_label(spec)


def _option(gene: Choice, old: Scalar | None, spec: Any) -> Scalar | None:
    """Return the option that means the same: by its label, else by its plug-in, else the nearest number."""
    if old is None:
        return None
    label = option_of(gene, old)
    if label is None and isinstance(spec, Mapping):
        named = zip(gene.labels, gene.options, strict=True)
        same = (own for own, o in named if isinstance(o, Mapping) and o.get("name") == spec.get("name"))
        label = next(same, None)
    return nearest_value(gene, old) if label is None else label


def _text(value: Scalar | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _some(counts: Counter[str]) -> str:
    """Write what occurs most, three at most."""
    told = [text if n == 1 else f"{text} ({n} times)" for text, n in counts.most_common(3)]
    return ", ".join(told + [f"{len(counts) - 3} others"] * (len(counts) > 3))
