"""The schema of a search space file, and everything that can be named in one."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic

from moosearch.algorithms import ALGORITHMS, SearchAlgorithm
from moosearch.algorithms.nsga2 import Nsga2
from moosearch.attacks import ATTACKS, Threat
from moosearch.data import DATASETS
from moosearch.errors import SpecError
from moosearch.evaluators import EVALUATORS, Evaluator, Resources
from moosearch.evaluators.faults import Retries
from moosearch.evaluators.ray_pool import RayPool
from moosearch.losses import LOSSES
from moosearch.models import ARCHITECTURES, DENOISERS, INPUT_DEFENSES
from moosearch.plan.recipes import Recipe
from moosearch.registry import Count, NonNegative, Number, Registry
from moosearch.space.files import CAMPAIGN_NAME
from moosearch.trackers import TRACKERS, Tracker
from moosearch.training import OBJECTIVES, CandidateSpec, Objective
from moosearch.training.costs import Flops
from moosearch.training.objectives import CleanAccuracy, RobustAccuracy


@dataclass(frozen=True)
class Budget:
    """How much is evaluated: ``population * generations`` candidates.

    Attributes:
        population: Candidates a generation.
        generations: Generations, the first random one included.
    """

    population: Count = 12
    generations: Count = 8


@dataclass(frozen=True)
class ConfirmationSpec:
    """How a front is confirmed: its recipes are trained again and judged on test images.

    Attributes:
        at_end: Whether a search ends with it; `moosearch confirm` does it at any time.
        seeds: Fresh trainings of each member.
        attacks: The suite, by name, or as mappings with a name and parameters; run in every ball that a
            robust accuracy of the campaign speaks of.
        images: Test images, the first ones; 0 for all.
        surrogate: An exported folder, from whose network images are transferred; empty for none.
    """

    at_end: bool = False
    seeds: Count = 3
    attacks: tuple[str | dict[str, Any], ...] = (
        "fgsm",
        "pgd20",
        "pgd100",
        "cw",
        "deepfool",
        "square",
        "autoattack",
    )
    images: Annotated[int, pydantic.Field(ge=0)] = 0
    surrogate: str = ""

    def __post_init__(self) -> None:
        """Check that there is an attack."""
        if not self.attacks:
            raise SpecError("attacks: got an empty list, expected one attack or more.")


@dataclass(frozen=True)
class LimitsSpec:
    """What a campaign puts up with. A resumed campaign may have other limits.

    Attributes:
        seconds: Seconds that a candidate may take, over all its attempts; 0 for no limit.
        retries: How often a candidate is tried again, by what went wrong.
        failed: Share of failed candidates beyond which the campaign stops, looked at when a generation is
            over; 1 for never.
        checkpoint: Seconds of training after which a candidate's weights are kept at the end of an epoch, so
            that it can go on from there; 0 for every epoch.
    """

    seconds: NonNegative = 0.0
    retries: Retries = Retries()
    failed: Annotated[Number, pydantic.Field(gt=0, le=1)] = 0.8
    checkpoint: NonNegative = 60.0


@dataclass(frozen=True)
class CampaignSpec:
    """The ``campaign:`` part of a search space file.

    Attributes:
        name: Name of the campaign and of its folder under ``results/``; by default that of the file.
        objectives: What is optimized, one or more.
        constraints: Bounds such as ``flops <= 2e6``, on an objective or on anything that can be one.
        algorithm: Who proposes candidates.
        budget: How many.
        initial: Recipes, gene paths with values, that take the first places of the first generation; a gene
            that one does not name takes its first option or middle. ``from`` says where it comes from.
        seed: Seed of everything random.
        evaluator: Where candidates are trained.
        resources: What one candidate occupies.
        reference_point: Coordinates of the hypervolume's reference point by objective; what is not given
            is 0 for accuracies, and for costs 1.1 times the dearest corner of the space (twice for times).
        keep: Whose weights stay on disk: those of the front, or all.
        repeats: How often each candidate is trained and measured, with fresh seeds; its objectives are means.
        confirmation: How the front is confirmed.
        limits: What it puts up with.
        storage: Where the study is: empty for SQLite in the folder, ``journal`` for Optuna's journal file
            there, or the URL of a database. A password is not written to the folder; where one is missing
            it is taken from ``MOOSEARCH_STORAGE_PASSWORD``.
        trackers: Who else is told what happens.
    """

    name: Annotated[str, pydantic.Field(pattern=CAMPAIGN_NAME)]
    objectives: tuple[Annotated[Objective, OBJECTIVES], ...] = (
        CleanAccuracy(),
        RobustAccuracy(),
        Flops(),
    )
    constraints: tuple[str, ...] = ()
    algorithm: Annotated[SearchAlgorithm, ALGORITHMS] = Nsga2()
    budget: Budget = Budget()
    initial: tuple[Recipe, ...] = ()
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    evaluator: Annotated[Evaluator, EVALUATORS] = RayPool()
    resources: Resources = Resources()
    reference_point: dict[str, Number] = field(default_factory=dict)
    keep: Literal["front", "all"] = "front"
    repeats: Count = 1
    confirmation: ConfirmationSpec = ConfirmationSpec()
    limits: LimitsSpec = LimitsSpec()
    storage: str = ""
    trackers: tuple[Annotated[Tracker, TRACKERS], ...] = ()

    @property
    def threats(self) -> tuple[Threat, ...]:
        """What the objectives claim robustness against, each ball once; a ball of one point is none."""
        objectives = (o for o in self.objectives if isinstance(o, RobustAccuracy))
        threats = dict.fromkeys(threat for o in objectives for threat in o.threats)
        return tuple(threat for threat in threats if threat.eps > 0)


@dataclass(frozen=True)
class FileSpec:
    """The root of a search space file.

    Attributes:
        campaign: How candidates are searched.
        candidate: What a candidate is; any leaf may be a gene.
        imports: Modules of the user's own that register plug-ins.
    """

    campaign: CampaignSpec
    candidate: CandidateSpec
    imports: tuple[str, ...] = ()


REGISTRIES: dict[str, Registry[Any]] = {
    registry.plural: registry
    for registry in (
        DATASETS,
        ARCHITECTURES,
        INPUT_DEFENSES,
        DENOISERS,
        ATTACKS,
        LOSSES,
        OBJECTIVES,
        ALGORITHMS,
        EVALUATORS,
        TRACKERS,
    )
}
"""Everything that can be named in a search space file, by kind."""
