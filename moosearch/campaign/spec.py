"""The schema of a search space file, and everything that can be named in one."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic

from moosearch.algorithms import ALGORITHMS, SearchAlgorithm
from moosearch.algorithms.nsga2 import Nsga2
from moosearch.attacks import ATTACKS
from moosearch.data import DATASETS
from moosearch.evaluators import EVALUATORS, Evaluator, Resources
from moosearch.evaluators.ray_pool import RayPool
from moosearch.losses import LOSSES
from moosearch.models import ARCHITECTURES
from moosearch.registry import Count, Number, Registry
from moosearch.training import OBJECTIVES, CandidateSpec, Objective
from moosearch.training.objectives import CleanAccuracy, Flops, RobustAccuracy


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
class CampaignSpec:
    """The ``campaign:`` part of a search space file.

    Attributes:
        name: Name of the campaign and of its folder under ``results/``; by default that of the file.
        objectives: What is optimized, one or more.
        constraints: Bounds such as ``flops <= 2e6``, on an objective or on anything that can be one.
        algorithm: Who proposes candidates.
        budget: How many.
        seed: Seed of everything random.
        evaluator: Where candidates are trained.
        resources: What one candidate occupies.
        reference_point: Coordinates of the hypervolume's reference point by objective; what is not given
            is 0 for accuracies, and for costs 1.1 times the dearest corner of the space (twice for times).
        keep: Whose weights stay on disk: those of the front, or all.
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    objectives: tuple[Annotated[Objective, OBJECTIVES], ...] = (
        CleanAccuracy(),
        RobustAccuracy(),
        Flops(),
    )
    constraints: tuple[str, ...] = ()
    algorithm: Annotated[SearchAlgorithm, ALGORITHMS] = Nsga2()
    budget: Budget = Budget()
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    evaluator: Annotated[Evaluator, EVALUATORS] = RayPool()
    resources: Resources = Resources()
    reference_point: dict[str, Number] = field(default_factory=dict)
    keep: Literal["front", "all"] = "front"


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
        ATTACKS,
        LOSSES,
        OBJECTIVES,
        ALGORITHMS,
        EVALUATORS,
    )
}
"""Everything that can be named in a search space file, by kind."""
