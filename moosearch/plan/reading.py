"""A search space file that is read: every name and value is checked, nothing is built yet."""

import dataclasses
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from moosearch.algorithms import SearchProblem
from moosearch.attacks import Attack, Threat
from moosearch.attacks.suite import named_attacks
from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Constraint, Genome
from moosearch.plan.corners import at
from moosearch.plan.recipes import complete, genomes, without_origin
from moosearch.plan.spec import CampaignSpec, FileSpec
from moosearch.registry import build, check_fields, to_tree
from moosearch.seeding import derive_seed
from moosearch.space import Choice, SearchSpace
from moosearch.space.files import Document
from moosearch.training import OBJECTIVES, CandidateSpec, Objective, key_of


@dataclass(frozen=True)
class Reading:
    """What a search space file asks for.

    It says which campaign it is, without the costs of its corners: `moosearch.plan.plan.plan` finds those.

    Attributes:
        campaign: How candidates are searched, with complete first recipes and the reference point as given.
        space: What is searched.
        constraints: Bounds, parsed.
        metrics: Objectives that are measured for constraints alone.
        imports: Modules that register plug-ins.
        place: Where the file stands, for messages.
    """

    campaign: CampaignSpec
    space: SearchSpace
    constraints: tuple[Constraint, ...]
    metrics: tuple[Objective, ...]
    imports: tuple[str, ...]
    place: Place

    @property
    def problem(self) -> SearchProblem:
        """What the search algorithm is given."""
        seed = derive_seed(self.campaign.seed, "search")
        return SearchProblem(
            self.space,
            objectives=len(self.campaign.objectives),
            violations=len(self.constraints) + 1,
            population=self.campaign.budget.population,
            seed=seed,
            initial=genomes(self.space, self.campaign.initial, seed),
        )

    def to_tree(self) -> dict[str, Any]:
        """Write it as a search space file with every default."""
        return {
            "imports": list(self.imports),
            "campaign": to_tree(self.campaign, CampaignSpec),
            "candidate": self.space.to_tree(),
        }

    def identity(self) -> dict[str, Any]:
        """Return the part that decides results: not where it runs, nor what is kept or confirmed."""
        tree = self.to_tree()
        aside = ("evaluator", "resources", "keep", "confirmation", "limits", "trackers")
        campaign = {key: value for key, value in tree["campaign"].items() if key not in aside}
        campaign["initial"] = [without_origin(recipe) for recipe in self.campaign.initial]
        return tree | {"campaign": campaign | {"resources": {"cpus": self.campaign.resources.cpus}}}

    def beginning_with(self, recipes: Sequence[Mapping[str, Any]], place: Place | None = None) -> Self:
        """Return this with other first individuals.

        Args:
            recipes: Gene path -> value; see `moosearch.plan.recipes.complete`.
            place: Where they stand, for messages.

        Raises:
            SpecError: One is wrong, they are more than a generation, or the algorithm takes none.
        """
        place = place or Place(shown=("campaign", "initial"))
        written = complete(self.space, recipes, place)
        population = self.campaign.budget.population
        if len(written) > population:
            raise place.error(
                f"got {len(written)} different recipes, expected at most a generation of them: "
                f"campaign.budget.population is {population}."
            )
        for recipe in written:
            corner_of(self.space, without_origin(recipe), place)
        new = dataclasses.replace(self, campaign=dataclasses.replace(self.campaign, initial=tuple(written)))
        new.campaign.algorithm.start(new.problem)
        return new

    def with_reference_of(self, other: "Reading") -> Self:
        """Return this with another's reference point where it has none, if both have the same objectives."""
        mine, others = ([key_of(o) for o in each.campaign.objectives] for each in (self, other))
        if mine != others:
            return self
        point = {**other.campaign.reference_point, **self.campaign.reference_point}
        return dataclasses.replace(self, campaign=dataclasses.replace(self.campaign, reference_point=point))


def read(document: Document) -> Reading:
    """Read a search space file: every name, key and value is checked on every branch.

    Raises:
        SpecError: Something is wrong; the message names file, line and field.
    """
    place = document.place
    # `campaign:` with nothing under it is as good as missing.
    data = {key: node for key, node in document.data.items() if node is not None}
    imports = import_plugins(data.get("imports"), place.child("imports"))
    check_fields(FileSpec, data, place, "the file")
    node = data["campaign"]
    if isinstance(node, Mapping) and "name" not in node:
        node = {"name": Path(place.file).stem or "campaign", **node}
    spec: CampaignSpec = build(CampaignSpec, node, place.child("campaign"))
    space = SearchSpace.parse(data["candidate"], CandidateSpec, place.child("candidate"))
    keys = _objective_keys(spec, place.child("campaign"))
    constraints, metrics = _constraints(spec, keys, place.child("campaign").child("constraints"))
    try:
        suites(spec)
    except SpecError as error:
        raise place.child("campaign").child("confirmation").error(str(error)) from None
    reading = Reading(dataclasses.replace(spec, initial=()), space, constraints, metrics, imports, place)
    return reading.beginning_with(spec.initial, place.child("campaign").child("initial"))


def import_plugins(node: Any, place: Place) -> tuple[str, ...]:
    """Import the user's own modules, looked for in the working directory too.

    Raises:
        SpecError: A module cannot be imported.
    """
    names: tuple[str, ...] = build(tuple[str, ...], node or [], place)
    if names and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for index, name in enumerate(names):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise place.child(index).error(
                f"the module '{name}' cannot be imported: {type(error).__name__}: {error}"
            ) from error
    return names


def campaign_spec(document: Document) -> CampaignSpec:
    """Read the ``campaign:`` part of a file of ours, with the plug-ins that it names."""
    import_plugins(document.data.get("imports"), document.place.child("imports"))
    spec: CampaignSpec = build(CampaignSpec, document.data.get("campaign"), document.place.child("campaign"))
    return spec


def suites(spec: CampaignSpec) -> dict[Threat, dict[str, Attack]]:
    """Return what a confirmation attacks with: ball -> name -> attack.

    Raises:
        SpecError: An attack is unknown, or does not fit a ball.
    """
    wanted = spec.confirmation
    return {
        threat: named_attacks(wanted.attacks, threat, surrogate=wanted.surrogate) for threat in spec.threats
    }


RESERVED = ("id", "generation", "status", "feasible", "reason", "seconds_train", "seconds_measure")
"""Columns of the tables, which no objective may be called."""
_KEY = re.compile(r"(?!attack_|suite_)[A-Za-z][A-Za-z0-9_-]*(?<!_mean)(?<!_std)")


def _objective_keys(spec: CampaignSpec, place: Place) -> list[str]:
    here = place.child("objectives")
    keys = [key_of(objective) for objective in spec.objectives]
    if not keys:
        raise here.error("a campaign needs at least one objective.")
    for index, (key, objective) in enumerate(zip(keys, spec.objectives, strict=True)):
        if keys.count(key) > 1:
            raise here.error(f"two objectives are called '{key}'. Give each a `label:` of its own.")
        foreign = key in OBJECTIVES and OBJECTIVES.name_of(objective) != key
        if not _KEY.fullmatch(key) or key in RESERVED or foreign:
            raise (
                here.child(index)
                .child("label")
                .error(
                    f"got {key!r}, expected letters, digits, - and _, no other objective's name, none of "
                    f"{', '.join(RESERVED)}, and no name like attack_..., suite_..., ..._mean or ..._std."
                )
            )
    for key in spec.reference_point:
        if key not in keys:
            there = place.child("reference_point").child(key)
            raise there.error(f"no objective has this name. {nearest(key, keys)}")
    return keys


def _constraints(
    spec: CampaignSpec, keys: list[str], place: Place
) -> tuple[tuple[Constraint, ...], tuple[Objective, ...]]:
    constraints, metrics = [], {}
    for index, text in enumerate(spec.constraints):
        here = place.child(index)
        constraint = Constraint.parse(text, here)
        key = constraint.key
        if key not in keys and key not in OBJECTIVES:
            raise here.error(f"nothing is measured as '{key}'. {nearest(key, {*keys, *OBJECTIVES})}")
        labels = [key_of(o) for o in spec.objectives if OBJECTIVES.name_of(o) == key]
        if key not in keys and labels:
            raise here.error(f"which {key}? Objectives of this kind are called: {', '.join(labels)}.")
        if key not in keys:
            metrics[key] = build(Annotated[Objective, OBJECTIVES], key)
        constraints.append(constraint)
    return tuple(constraints), tuple(metrics.values())


def corner_of(space: SearchSpace, genome: Genome, place: Place) -> CandidateSpec:
    """Build the spec of a corner of the space; a refusal names the genes that led to it."""
    candidate = space.candidate(genome)
    try:
        spec: CandidateSpec = build(CandidateSpec, candidate.spec, place)
        return spec
    except SpecError as error:
        genes = space.genes()
        choices = {p: v for p, v in candidate.genome.items() if isinstance(genes[p], Choice)}
        raise SpecError(f"{error}{at(choices)}") from None
