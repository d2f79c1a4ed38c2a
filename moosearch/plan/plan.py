"""The plan of a campaign: a search space file, checked as a whole before anything starts."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from moosearch.algorithms import ALGORITHMS
from moosearch.attacks import ATTACKS
from moosearch.attacks.suite import check_attacks
from moosearch.campaign.header import Header
from moosearch.data import Dataset
from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import ObjectiveInfo
from moosearch.evaluators import EvaluationOnTest, Work
from moosearch.extras import require
from moosearch.losses import LOSSES
from moosearch.plan.corners import Corner, Corners, Cost
from moosearch.plan.reading import Reading, corner_of, read
from moosearch.plan.spec import CampaignSpec
from moosearch.registry import to_tree
from moosearch.space.files import Document
from moosearch.training import OBJECTIVES, CandidateSpec, Objective, key_of
from moosearch.training.objectives import RobustAccuracy
from moosearch.training.verified import VerifiedFraction


@dataclass(frozen=True)
class Plan(Reading):
    """A search space file that was found right, with the whole reference point.

    Attributes:
        objectives: What the search knows of the objectives.
        corners: Number of corners of the space that were built.
        datasets: Every dataset of a corner.
        weights: Bytes of the weights of the largest network.
        trainings: Candidates at corners whose trainings differ in cost.
    """

    objectives: tuple[ObjectiveInfo, ...]
    corners: int
    datasets: tuple[Dataset, ...]
    weights: int
    trainings: tuple[CandidateSpec, ...]

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
    def test_evaluation(self) -> EvaluationOnTest:
        """How a confirmation judges."""
        spec = self.campaign.confirmation
        return EvaluationOnTest(self.campaign.threats, spec.attacks, spec.surrogate, spec.images)


def make_plan(document: Document) -> Plan:
    """Read a search space file and plan its campaign.

    Raises:
        SpecError: Something is wrong; the message names file, line and field.
    """
    return plan(read(document))


def plan(reading: Reading) -> Plan:
    """Plan a campaign: the corners of the space are built, so that what is wrong anywhere in it is found.

    Raises:
        SpecError: Something is wrong; the message names file, line and field.
    """
    infos, networks, datasets = _objectives(reading)
    point = {info.key: info.reference for info in infos}
    given: dict[str, Any] = {
        field.name: getattr(reading, field.name) for field in dataclasses.fields(Reading)
    }
    given["campaign"] = dataclasses.replace(reading.campaign, reference_point=point)
    return Plan(
        **given,
        objectives=infos,
        corners=len(networks),
        datasets=datasets,
        weights=networks.weights,
        trainings=networks.trainings,
    )


def _objectives(
    reading: Reading,
) -> tuple[tuple[ObjectiveInfo, ...], Corners, tuple[Dataset, ...]]:
    """Build the corners of the space, and complete the reference point by what the dearest of them cost."""
    spec, space, metrics = reading.campaign, reading.space, reading.metrics
    keys = [key_of(objective) for objective in spec.objectives]
    corners, datasets = [], []
    candidate, campaign = reading.place.child("candidate"), reading.place.child("campaign")
    for genome in space.corners():
        built = corner_of(space, genome, candidate)
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
        infos.append(
            ObjectiveInfo(key, objective.sense, objective.unit, ideal, reference, objective.tolerance)
        )
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
    if task.top > 1 and not loss.several_labels:
        name = LOSSES.name_of(loss)
        known = [each for each in LOSSES if LOSSES.get(each).several_labels]
        raise place.child("loss").error(
            f"'{name}' is not for images with {task.top} labels. {nearest(name, known)}"
        )
