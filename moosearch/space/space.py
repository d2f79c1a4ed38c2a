"""The search space: a candidate spec with holes. A genome fills the holes; the filled spec is a candidate."""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from moosearch.errors import Place
from moosearch.evaluation import Candidate, Genome, Scalar
from moosearch.registry import (
    Count,
    check_fields,
    default_of,
    field_hints,
    is_left_out,
    item_hint,
    registry_of,
    shortened,
    split_name,
    to_tree,
    validate_leaf,
)
from moosearch.space.genes import (
    Choice,
    Gene,
    Integer,
    Real,
    choice_labels,
    parse_bounds,
    tag_of,
)

MOST_CORNERS = 256
"""Up to this many combinations of choices are all built when a space is checked."""


def candidate_id(spec: Mapping[str, Any]) -> str:
    """Return the id of a filled spec: the first 12 hexadecimal digits of its SHA-256.

    The spec is written as canonical JSON, in which 1 and 1.0 are the same number.

    Example:
        >>> candidate_id({"width": 1.0}) == candidate_id({"width": 1})
        True
    """
    text = json.dumps(_canonical(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _canonical(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_canonical(value) for value in node]
    if isinstance(node, float) and node.is_integer():
        return int(node)
    return node


@dataclass(frozen=True)
class SearchSpace:
    """A candidate spec in which some nodes are genes.

    Attributes:
        tree: The spec with every default written out: mappings, lists, scalars and `Gene` objects.
        hint: What a filled spec builds; None where there are no candidates, but genomes alone.
    """

    tree: Any
    hint: Any = dataclasses.field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, node: Any, hint: Any, place: Place | None = None) -> "SearchSpace":
        """Read a space, check every name, key and value in it, and write out all defaults.

        Args:
            node: Plain data; a one-key mapping with a gene tag is a gene.
            hint: What a filled spec must build, see `moosearch.registry.build`.
            place: Where the node stands, for messages.

        Raises:
            SpecError: Something is unknown, missing or out of range, on any branch of any choice.
        """
        return cls(_complete(node, hint, place or Place()), hint)

    def genes(self) -> dict[str, Gene]:
        """Return every gene by its path, parents before children.

        A gene under an option of a choice has the option's label in its path:
        ``training.attack.mixed.alpha0_min``.
        """
        return dict(_genes(self.tree, ()))

    def active(self, genome: Genome) -> dict[str, Scalar]:
        """Return the part of a genome that the filled spec depends on."""
        active: dict[str, Scalar] = {}
        _fill(self.tree, genome, (), active)
        return active

    def candidate(self, genome: Genome) -> Candidate:
        """Fill the holes.

        Its id is that of the same recipe written without genes, be it that a gene has the default of a `late`
        field.

        Args:
            genome: A value for every active gene; others are ignored.

        Raises:
            KeyError: An active gene has no value.
        """
        active: dict[str, Scalar] = {}
        spec = _fill(self.tree, genome, (), active)
        own = spec if self.hint is None else shortened(spec, self.hint)
        return Candidate(candidate_id(own), active, spec)

    def sample(self, generator: np.random.Generator) -> dict[str, Scalar]:
        """Draw a value for every gene, active or not."""
        return {path: gene.sample(generator) for path, gene in self.genes().items()}

    @property
    def size(self) -> float:
        """Number of different candidates; infinite where an active gene is real."""
        return _size(self.tree)

    def enumerate(self) -> Iterator[dict[str, Scalar]]:
        """Iterate over the genomes of all candidates of a finite space, last gene fastest.

        Raises:
            ValueError: A gene is real.
        """
        return _enumerate(self.tree, ())

    def corners(self) -> list[dict[str, Scalar]]:
        """Return genomes at the edges of the space, where what is wrong or dear in it shows.

        Numbers (and choices among numbers) are all high or all low, and other choices are combined in every
        way; where these are more than `MOST_CORNERS`, in every way that differs from the first options in one
        choice, and in random ways.
        """
        pinned = [_pin(self.tree, high=high) for high in (True, False)]
        genomes: list[dict[str, Scalar]] = []
        for tree in pinned:
            space = SearchSpace(tree)
            if space.size <= MOST_CORNERS:
                genomes += space.enumerate()
            else:
                generator = np.random.default_rng(0)
                genomes += space._variants()
                genomes += [space.sample(generator) for _ in range(MOST_CORNERS // 2)]
        genomes += SearchSpace(pinned[0])._variants() + self._each_label(pinned[0])
        corners: dict[str, dict[str, Scalar]] = {}
        for genome in genomes:
            candidate = self.candidate(genome)
            corners.setdefault(candidate.id, dict(candidate.genome))
        return list(corners.values())

    def _variants(self) -> list[dict[str, Scalar]]:
        """Return the first option of every choice, and each other option once."""
        genes = self.genes()
        base = {
            path: gene.labels[0] if isinstance(gene, Choice) else gene.low for path, gene in genes.items()
        }
        return [base] + [
            base | _ancestors(path, genes) | {path: label}
            for path, gene in genes.items()
            if isinstance(gene, Choice)
            for label in gene.labels
        ]

    def _each_label(self, pinned: Any) -> list[dict[str, Scalar]]:
        """Return each option of the choices that pinning fixed, once."""
        genes = self.genes()
        base = SearchSpace(pinned)._variants()[0]
        return [
            base | _ancestors(path, genes) | {path: label}
            for path, gene in genes.items()
            if isinstance(gene, Choice) and _numeric(gene)
            for label in gene.labels
        ]

    def to_tree(self) -> Any:
        """Write the space as plain data, with every default written out."""
        return _plain(self.tree)


def _complete(node: Any, hint: Any, place: Place) -> Any:
    """Check a node against a hint and write out its defaults; gene mappings become genes."""
    tag = tag_of(node)
    if tag == "choice":
        return _complete_choice(node["choice"], hint, place)
    if tag is not None:
        return _complete_bounds(node, hint, place)
    item = item_hint(hint)
    if item is not None:
        if not isinstance(node, list):
            raise place.error(f"got {node!r}, expected a list.")
        return [_complete(value, item, place.child(i)) for i, value in enumerate(node)]
    registry = registry_of(hint)
    if registry is not None:
        cls, fields = split_name(node, registry, place)
        title = node if isinstance(node, str) else str(node["name"])
        head: dict[str, Any] = {"name": title}
    elif isinstance(hint, type) and is_dataclass(hint):
        cls, fields, head = hint, node, {}
        title = place.shown[-1] if place.shown else hint.__name__
    else:
        return validate_leaf(node, hint, place)
    check_fields(cls, fields, place, title)
    for key, sub in field_hints(cls).items():
        if key in fields:
            tree = _complete(fields[key], sub, place.child(key))
        else:
            tree = to_tree(default_of(cls, key), sub)
        if not is_left_out(cls, key, tree):
            head[key] = tree
    return head


def _complete_choice(nodes: Any, hint: Any, place: Place) -> Choice:
    labels = choice_labels(nodes, place)
    options = []
    for index, (label, node) in enumerate(zip(labels, nodes, strict=True)):
        plain = {k: v for k, v in node.items() if k != "label"} if isinstance(node, Mapping) else node
        options.append(_complete(plain, hint, place.option(index, str(label))))
    # Values that were written differently may be the same by now: 1/2 and 0.5.
    labels = choice_labels(
        [
            label if isinstance(o, Mapping) else _canonical(o)
            for label, o in zip(labels, options, strict=True)
        ],
        place,
    )
    return Choice(labels, tuple(options))


def _complete_bounds(node: Mapping[str, Any], hint: Any, place: Place) -> Real | Integer:
    gene = parse_bounds(node, place)
    if registry_of(hint) is not None or item_hint(hint) is not None or is_dataclass(hint):
        raise place.error(f"got {dict(node)}, but no number can stand here.")
    if isinstance(gene, Real) and hint in (int, Count):
        raise place.error(f"got {dict(node)}, but an integer stands here: use `integer` or `log_integer`.")
    for bound in (gene.low, gene.high):
        validate_leaf(bound, hint, place)
    return gene


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return [(str(key), value) for key, value in node.items()]
    if isinstance(node, list):
        return [(str(index), value) for index, value in enumerate(node)]
    return []


def _genes(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Gene]]:
    if isinstance(node, Real | Integer | Choice):
        yield ".".join(path), node
    if isinstance(node, Choice):
        for label, option in zip(node.labels, node.options, strict=True):
            yield from _genes(option, (*path, str(label)))
    for key, value in _children(node):
        yield from _genes(value, (*path, key))


def _fill(node: Any, genome: Genome, path: tuple[str, ...], active: dict[str, Scalar]) -> Any:
    if isinstance(node, Real | Integer):
        value = active[".".join(path)] = genome[".".join(path)]
        return value
    if isinstance(node, Choice):
        label = active[".".join(path)] = genome[".".join(path)]
        return _fill(node.option(label), genome, (*path, str(label)), active)
    if isinstance(node, Mapping):
        return {key: _fill(value, genome, (*path, key), active) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, genome, (*path, str(i)), active) for i, value in enumerate(node)]
    return node


def _numeric(gene: Choice) -> bool:
    return all(isinstance(label, int | float) and not isinstance(label, bool) for label in gene.labels)


def _pin(node: Any, *, high: bool) -> Any:
    """Fix every number, and every choice among numbers, at its highest or lowest value."""
    if isinstance(node, Choice):
        if _numeric(node):
            label = (max if high else min)(node.labels)
            return Choice((label,), (node.option(label),))
        return Choice(node.labels, tuple(_pin(option, high=high) for option in node.options))
    if isinstance(node, Real | Integer):
        value: Any = node.high if high else node.low
        return dataclasses.replace(node, low=value, high=value)
    if isinstance(node, Mapping):
        return {key: _pin(value, high=high) for key, value in node.items()}
    if isinstance(node, list):
        return [_pin(value, high=high) for value in node]
    return node


def _size(node: Any) -> float:
    if isinstance(node, Choice):
        return sum(_size(option) for option in node.options)
    if isinstance(node, Real | Integer):
        return node.size
    return math.prod(_size(value) for _, value in _children(node))


def _enumerate(node: Any, path: tuple[str, ...]) -> Iterator[dict[str, Scalar]]:
    name = ".".join(path)
    if isinstance(node, Real):
        if node.size > 1:
            raise ValueError(f"the gene {name} is real: its values cannot be enumerated")
        yield {name: node.low}
    elif isinstance(node, Integer):
        for value in range(node.low, node.high + 1, node.step):
            yield {name: value}
    elif isinstance(node, Choice):
        for label, option in zip(node.labels, node.options, strict=True):
            for rest in _enumerate(option, (*path, str(label))):
                yield {name: label} | rest
    else:
        parts = [list(_enumerate(value, (*path, key))) for key, value in _children(node)]
        for combination in itertools.product(*parts):
            yield {key: value for part in combination for key, value in part.items()}


def _ancestors(path: str, genes: Mapping[str, Gene]) -> dict[str, Scalar]:
    """Return the choices that must be made for the gene at ``path`` to be active."""
    made: dict[str, Scalar] = {}
    for parent, gene in genes.items():
        if isinstance(gene, Choice) and path.startswith(f"{parent}."):
            for label in gene.labels:
                if path == f"{parent}.{label}" or path.startswith(f"{parent}.{label}."):
                    made[parent] = label
    return made


def _plain(node: Any) -> Any:
    if isinstance(node, Choice):
        written = []
        for label, option in zip(node.labels, node.options, strict=True):
            plain = _plain(option)
            if isinstance(plain, dict) and plain.get("name") != label:
                plain = {"label": label} | plain
            written.append(plain)
        return {"choice": written}
    if isinstance(node, Real | Integer):
        return node.to_tree()
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node
