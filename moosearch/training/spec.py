"""The schema of a candidate: data, architecture, and how it is trained."""

import itertools
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pydantic

from moosearch.attacks import ATTACKS, Attack
from moosearch.attacks.gradient import Pgd
from moosearch.data import DATASETS, Dataset
from moosearch.data.augment import Augmentation
from moosearch.errors import SpecError
from moosearch.losses import LOSSES, Loss
from moosearch.losses.classification import CrossEntropy
from moosearch.models import ARCHITECTURES, Architecture, DefenseSpec, RobustNet, build_network
from moosearch.registry import Count, NonNegative, Number, Positive, late
from moosearch.training.numerics import NumericsSpec
from moosearch.training.regularization import RegularizationSpec
from moosearch.training.schedules import Schedule, at_epoch, check_schedules, numbers_at

Share = Annotated[Number, pydantic.Field(gt=0, lt=1)]


@dataclass(frozen=True)
class OptimizerSpec:
    """How weights move.

    Attributes:
        kind: ``sgd`` (with Nesterov momentum) or ``adamw``.
        lr: Largest learning rate.
        momentum: Of SGD; unused by AdamW.
        nesterov: Of SGD's momentum.
        weight_decay: Of all weights that are matrices or kernels; none on biases and batch normalization.
        schedule: ``cosine`` to zero, ``one_cycle`` (up for 30 %, then down), ``step`` or ``constant``.
        milestones: Of ``step``: shares of the epochs after which the rate falls.
        decay: Of ``step``: what the rate is multiplied by at a milestone.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    schedule: Literal["cosine", "one_cycle", "step", "constant"] = "cosine"
    milestones: tuple[Share, ...] = (0.75, 0.9)
    decay: Share = 0.1

    def __post_init__(self) -> None:
        """Check the order of the milestones."""
        if any(late <= early for early, late in itertools.pairwise(self.milestones)):
            raise SpecError(
                f"milestones: got {list(self.milestones)}, expected growing shares of the epochs."
            )


@dataclass(frozen=True)
class ValidationSpec:
    """How the best checkpoint is found: robust accuracy on validation images after epochs.

    The attack is PGD in the ball of the training attack, with steps of 2.5 radii in all. The last epoch is
    always validated; the earliest of equals is the best.

    Attributes:
        every: Epochs between validations; 0 for none, and then the last checkpoint is the only one.
        images: Validation images, the first ones; 0 for all.
        steps: Steps of PGD.
    """

    every: Annotated[int, pydantic.Field(ge=0)] = 1
    images: Annotated[int, pydantic.Field(ge=0)] = 500
    steps: Count = 10


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        attack: What perturbs the training images.
        loss: Loss of the main task.
        auxiliary_weight: Weight of the cross-entropy of each auxiliary task on the adversarial images
            (Hyun & Park 2024, eqs. 5 and 6: 1).
        task_losses: Whether the losses of the tasks are summed, as the paper prints, or their mean is taken,
            as its code does.
        augmentation: How training images are varied.
        optimizer: How weights move.
        average: Decay of an exponential moving average of the weights, which is then judged; 0 for none.
        validation: How the best checkpoint is found.
        checkpoint: Which one is judged and exported: ``best`` or ``last``. Both are stored.
        numerics: In what precision training computes.
        regularization: What keeps the network from being sure or steep.
        schedules: Numbers that change from epoch to epoch.
    """

    epochs: Count = 10
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 64
    attack: Annotated[Attack, ATTACKS] = Pgd()
    loss: Annotated[Loss, LOSSES] = CrossEntropy()
    auxiliary_weight: NonNegative = 1.0
    task_losses: Literal["sum", "mean"] = "sum"
    augmentation: Augmentation = Augmentation()
    optimizer: OptimizerSpec = OptimizerSpec()
    average: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.0
    validation: ValidationSpec = ValidationSpec()
    checkpoint: Literal["best", "last"] = "best"
    numerics: NumericsSpec = NumericsSpec()
    regularization: RegularizationSpec = late(RegularizationSpec())
    schedules: tuple[Schedule, ...] = late(())


@dataclass(frozen=True)
class CandidateSpec:
    """Everything that decides what a candidate is.

    Attributes:
        dataset: What is learned.
        architecture: What is trained.
        training: How.
        defenses: What the network carries besides its architecture.
    """

    dataset: Annotated[Dataset, DATASETS]
    architecture: Annotated[Architecture, ARCHITECTURES]
    training: TrainingSpec = field(default_factory=TrainingSpec)
    defenses: DefenseSpec = late(DefenseSpec())

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        if self.training.attack.multitask and not self.dataset.auxiliary:
            name = ATTACKS.name_of(self.training.attack)
            raise SpecError(f"the attack '{name}' needs auxiliary tasks, and dataset.auxiliary is empty.")
        loss, smoothing = self.training.loss, self.training.regularization.label_smoothing
        if smoothing > 0 and not loss.smooths:
            raise SpecError(
                f"training.regularization.label_smoothing: got {smoothing:g}, but the loss "
                f"'{LOSSES.name_of(loss)}' has no cross-entropy that can be smoothed: 0, or another loss."
            )
        check_schedules(self)

    def at(self, epoch: int) -> "CandidateSpec":
        """Return the candidate as an epoch of its training, from 1, sees it."""
        return at_epoch(self, epoch)

    def scheduled(self, epoch: int) -> dict[str, float]:
        """Return the numbers that schedules give an epoch, from 1, by path."""
        return numbers_at(self, epoch)

    def build_network(self, seed: int) -> RobustNet:
        """Build the network with all heads, initialized from a seed, on the CPU.

        Raises:
            SpecError: The images are too small for the architecture.
        """
        return build_network(
            self.architecture, self.dataset.shape, self.dataset.tasks, seed=seed, defenses=self.defenses
        )
