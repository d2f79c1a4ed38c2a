"""The plan of a campaign: a search space file, checked as a whole before anything starts."""

import dataclasses
import importlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from moosearch.algorithms import ALGORITHMS, SearchProblem
from moosearch.attacks import ATTACKS, Attack, Threat
from moosearch.attacks.suite import check_attacks, named_attacks
from moosearch.campaign.header import Header
from moosearch.data import Dataset
from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Constraint, Genome, ObjectiveInfo
from moosearch.evaluators import Exam, Work
from moosearch.extras import require
from moosearch.losses import LOSSES
from moosearch.plan.corners import Corner, Corners, Cost, at
from moosearch.plan.recipes import complete, genomes, without_origin
from moosearch.plan.spec import CampaignSpec, FileSpec
from moosearch.registry import build, check_fields, to_tree
from moosearch.seeding import derive_seed
from moosearch.space import Choice, SearchSpace
from moosearch.space.files import Document
from moosearch.training import OBJECTIVES, CandidateSpec, Objective, key_of
from moosearch.training.objectives import RobustAccuracy
from moosearch.training.verified import VerifiedFraction


@dataclass(frozen=True)
class Plan:
    """A search space file that was found right.

    Attributes:
        campaign: How candidates are searched, with the whole reference point and complete first recipes.
        space: What is searched.
        objectives: What the search knows of the objectives.
        constraints: Bounds, parsed.
        metrics: Objectives that are measured for constraints alone.
        imports: Modules that register plug-ins.
        corners: Number of corners of the space that were built.
        datasets: Every dataset of a corner.
        weights: Bytes of the weights of the largest network.
        trainings: Candidates at corners whose trainings differ in cost.
    """

    campaign: CampaignSpec
    space: SearchSpace
    objectives: tuple[ObjectiveInfo, ...]
    constraints: tuple[Constraint, ...]
    metrics: tuple[Objective, ...]
    imports: tuple[str, ...]
    corners: int
    datasets: tuple[Dataset, ...]
    weights: int
    trainings: tuple[CandidateSpec, ...]

    @property
    def problem(self) -> SearchProblem:
        """What the search algorithm is given."""
        seed = derive_seed(self.campaign.seed, "search")
        return SearchProblem(
            self.space,
            objectives=len(self.objectives),
            violations=len(self.constraints) + 1,
            population=self.campaign.budget.population,
            seed=seed,
            initial=genomes(self.space, self.campaign.initial, seed),
        )

    @property
    def work(self) -> Work:
        """What workers are given."""
        hint = Annotated[Objective, OBJECTIVES]
        return Work(
            self.campaign.seed,
            tuple(to_tree(objective, hint) for objective in self.campaign.objectives),
            tuple(to_tree(metric, hint) for metric in self.metrics),
            self.constraints,
            self.campaign.resources.cpus,
            self.imports,
            self.campaign.repeats,
            limit=self.campaign.limits.seconds,
            checkpoint=self.campaign.limits.checkpoint,
            weights=self.weights,
            device=self.campaign.resources.kind,
            corners=tuple(to_tree(spec, CandidateSpec) for spec in self.trainings),
        )

    @property
    def header(self) -> Header:
        """What the campaign says of itself."""
        campaign = self.campaign
        return Header(
            campaign.name,
            self.objectives,
            tuple(str(constraint) for constraint in self.constraints),
            ALGORITHMS.name_of(campaign.algorithm),
            campaign.budget.population,
            campaign.budget.generations,
            campaign.seed,
        )

    @property
    def exam(self) -> Exam:
        """How a confirmation judges."""
        spec = self.campaign.confirmation
        return Exam(self.campaign.threats, spec.attacks, spec.surrogate, spec.images)

    def to_tree(self) -> dict[str, Any]:
        """Write the plan as a search space file with every default and the reference point."""
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

    def beginning_with(self, recipes: Sequence[Mapping[str, Any]], place: Place | None = None) -> "Plan":
        """Return this plan with other first individuals.

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
            _corner(self.space, without_origin(recipe), place)
        plan = dataclasses.replace(self, campaign=dataclasses.replace(self.campaign, initial=tuple(written)))
        plan.campaign.algorithm.start(plan.problem)
        return plan

    def with_reference_of(self, other: "Plan") -> "Plan":
        """Return this plan with another's reference point, where both have the same objectives."""
        if [info.key for info in self.objectives] != [info.key for info in other.objectives]:
            return self
        point = other.campaign.reference_point
        infos = [dataclasses.replace(info, reference=point[info.key]) for info in self.objectives]
        campaign = dataclasses.replace(self.campaign, reference_point=point)
        return dataclasses.replace(self, campaign=campaign, objectives=tuple(infos))


def make_plan(document: Document) -> Plan:
    """Check a search space file as a whole and plan its campaign.

    Every name, key and value is checked on every branch, and the corners of the space are built: what is
    wrong anywhere in the space is found now.

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
    infos, networks, datasets = _objectives(spec, space, keys, metrics, place)
    spec = dataclasses.replace(spec, reference_point={info.key: info.reference for info in infos})
    plan = Plan(
        dataclasses.replace(spec, initial=()),
        space,
        infos,
        constraints,
        metrics,
        imports,
        len(networks),
        datasets,
        networks.weights,
        networks.trainings,
    )
    return plan.beginning_with(spec.initial, place.child("campaign").child("initial"))


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


def _objectives(
    spec: CampaignSpec, space: SearchSpace, keys: list[str], metrics: Sequence[Objective], place: Place
) -> tuple[tuple[ObjectiveInfo, ...], Corners, tuple[Dataset, ...]]:
    """Build the corners of the space, and complete the reference point by what the dearest of them cost."""
    corners, datasets = [], []
    candidate, campaign = place.child("candidate"), place.child("campaign")
    for genome in space.corners():
        built = _corner(space, genome, candidate)
        corners.append(Corner(built, genome))
        if built.dataset not in datasets:
            datasets.append(built.dataset)
            _check_attacks(spec, built.dataset, campaign.child("objectives"))
        _check_labels(built, candidate.child("training"))
    costs = {
        key: Cost(objective, campaign.child("objectives").child(index), key in spec.reference_point)
        for index, (key, objective) in enumerate(zip(keys, spec.objectives, strict=True))
        if objective.kind != "fraction"
    }
    for metric in metrics:
        if metric.kind != "fraction":
            costs[key_of(metric)] = Cost(metric, campaign.child("constraints"), known=True)
    _check_sharing(spec, [*costs.values()], campaign.child("resources").child("gpus"))
    networks = Corners(corners, candidate, gpu=spec.resources.kind != "cpu")
    places = [campaign.child("objectives").child(index) for index in range(len(spec.objectives))]
    places += [campaign.child("constraints")] * len(metrics)
    for objective, here in zip([*spec.objectives, *metrics], places, strict=True):
        if isinstance(objective, VerifiedFraction):
            from moosearch.verify import check_layers  # brings SciPy's sparse matrices

            networks.check(check_layers, here)
            if objective.time_limit:
                require(f"{'.'.join(here.shown)}: time_limit", "verify")
    worst = networks.references(costs)
    infos = []
    for key, objective in zip(keys, spec.objectives, strict=True):
        ideal = 1.0 if objective.sense == "maximize" else 0.0
        reference = spec.reference_point.get(key, worst.get(key, 1.0 - ideal))
        maximize = objective.sense == "maximize"
        if not (reference < ideal if maximize else reference > ideal) or not math.isfinite(reference):
            side = "below" if maximize else "above"
            here = campaign.child("reference_point").child(key)
            raise here.error(f"got {reference:g}, expected a value {side} the ideal {ideal:g}.")
        tolerance = getattr(objective, "tolerance", 0.0)  # a plug-in of a user's own may have none
        infos.append(ObjectiveInfo(key, objective.sense, objective.unit, ideal, reference, tolerance))
    return tuple(infos), networks, tuple(datasets)


def _check_sharing(spec: CampaignSpec, costs: Sequence[Cost], place: Place) -> None:
    """Check that nothing is timed on a GPU that others train on meanwhile."""
    gpus, timed = spec.resources.gpus, [c.objective for c in costs if c.objective.kind == "timed"]
    if timed and gpus != "auto" and 0 < gpus < 1:
        raise place.error(
            f"got {gpus:g}, and {key_of(timed[0])} is measured while others train on the same GPU: expected "
            "1 or more, or auto."
        )


def _check_attacks(spec: CampaignSpec, dataset: Dataset, place: Place) -> None:
    """Check that the objectives' attacks can be run on a dataset."""
    for index, objective in enumerate(spec.objectives):
        if isinstance(objective, RobustAccuracy):
            attacks = {f"{number}": attack for number, attack in enumerate(objective.attacks)}
            try:
                check_attacks(attacks, dataset.tasks[0], dataset.shape)
            except SpecError as error:
                raise place.child(index).error(str(error)) from None


def _check_labels(spec: CandidateSpec, place: Place) -> None:
    """Check that attack and loss of a training are for as many labels as an image has."""
    task, attack, loss = spec.dataset.tasks[0], spec.training.attack, spec.training.loss
    try:
        check_attacks({ATTACKS.name_of(attack): attack}, task, spec.dataset.shape)
    except SpecError as error:
        raise place.child("attack").error(str(error)) from None
    if task.top > 1 and not getattr(loss, "several_labels", False):
        name = LOSSES.name_of(loss)
        known = [each for each in LOSSES if getattr(LOSSES.get(each), "several_labels", False)]
        raise place.child("loss").error(
            f"'{name}' is not for images with {task.top} labels. {nearest(name, known)}"
        )


def _corner(space: SearchSpace, genome: Genome, place: Place) -> CandidateSpec:
    """Build the spec of a corner of the space; a refusal names the genes that led to it."""
    candidate = space.candidate(genome)
    try:
        spec: CandidateSpec = build(CandidateSpec, candidate.spec, place)
        return spec
    except SpecError as error:
        genes = space.genes()
        choices = {p: v for p, v in candidate.genome.items() if isinstance(genes[p], Choice)}
        raise SpecError(f"{error}{at(choices)}") from None
