"""What is the same for all jobs of a campaign, and how a confirmation judges; all of it plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moosearch.evaluation import Constraint
from moosearch.evaluators.devices import Kind
from moosearch.job import Job
from moosearch.seeding import derive_seed

if TYPE_CHECKING:
    from moosearch.attacks import Threat


@dataclass(frozen=True)
class EvaluationOnTest:
    """How a network is judged; plain data, so that it travels.

    Attributes:
        threats: The balls that the campaign claims robustness in.
        attacks: The suite that is run in each of them, as `moosearch.attacks.suite.named_attacks` takes it.
        surrogate: An exported folder, from whose network images are transferred; empty for none.
        images: Test images, the first ones; 0 for all.
    """

    threats: tuple["Threat", ...]
    attacks: tuple[str | Mapping[str, Any], ...]
    surrogate: str = ""
    images: int = 0


@dataclass(frozen=True)
class Work:
    """What is the same for all jobs of a campaign; plain data, so that it travels.

    Attributes:
        seed: Seed of the campaign.
        objectives: Objectives as in the file, with all defaults.
        metrics: The same for what only constraints need: objectives that are measured but not optimized.
        constraints: Bounds on any of both.
        threads: CPU threads of a candidate. Results may depend on it, so every evaluator obeys it.
        imports: Modules that register the user's own plug-ins.
        repeats: How often a search trains and measures a candidate.
        test_evaluation: How a confirmation judges on test images; None in a search, which never sees them.
        limit: Seconds that a job may take, over all its attempts, looked at after epochs; 0 for no limit.
        checkpoint: Seconds of training after which the end of an epoch is sent along with its weights, so
            that the job can go on from there; 0 for every epoch.
        images: Bytes of the images of the datasets; 0 where nobody knows.
        weights: Bytes of the largest network's weights; 0 where nobody knows.
        device: What it runs on, see `moosearch.evaluators.devices.use`.
        corners: Candidates at the corners of the space, of which the largest tells how many share a GPU.
    """

    seed: int
    objectives: tuple[Mapping[str, Any], ...]
    metrics: tuple[Mapping[str, Any], ...] = ()
    constraints: tuple[Constraint, ...] = ()
    threads: int = 1
    imports: tuple[str, ...] = ()
    repeats: int = 1
    test_evaluation: EvaluationOnTest | None = None
    limit: float = 0.0
    checkpoint: float = 60.0
    images: int = 0
    weights: int = 0
    device: Kind = "auto"
    corners: tuple[Mapping[str, Any], ...] = ()

    def seed_of(self, job: Job) -> int:
        """Return the seed of a training; a confirmation shares none with the search."""
        if self.test_evaluation is not None:
            purpose = f"confirmation {job.number}"
        else:
            purpose = f"candidate, replicate {job.number}" if job.number else "candidate"
        return derive_seed(self.seed, purpose, job.candidate.id)
