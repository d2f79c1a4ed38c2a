"""What candidates cost: the deployed network, counted or measured, and the training."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic

from moosearch.evaluation import Sense
from moosearch.models import count_flops, count_parameters, peak_memory
from moosearch.models.timing import energy_meter, measure_energy, measure_latency
from moosearch.registry import Count, Number, Positive, late
from moosearch.training.effort import rough_training_flops, training_flops
from moosearch.training.objectives import OBJECTIVES, Kind, Objective, Subject, key_of

Tolerance = Annotated[Number, pydantic.Field(ge=0, le=1)]

ROUGH = 16
"""Images at a time, at most, where a rough value will do."""


@OBJECTIVES.register("flops")
@dataclass(frozen=True)
class Flops(Objective):
    """Floating-point operations of the deployed network for one image (a multiply-accumulate is two)."""

    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "FLOP"
    kind: ClassVar[Kind] = "counted"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        return float(count_flops(subject.net.deployed(), subject.shape))


@OBJECTIVES.register("parameters")
@dataclass(frozen=True)
class Parameters(Objective):
    """Trainable numbers of the deployed network."""

    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "parameters"
    kind: ClassVar[Kind] = "counted"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        return float(count_parameters(subject.net.deployed()))


@OBJECTIVES.register("peak_memory")
@dataclass(frozen=True)
class PeakMemory(Objective):
    """Most bytes that the tensors of an inference of the deployed network hold at once, without parameters.

    Counted, and so the same on every device; a library may need more for its own ends.

    Attributes:
        batch: Images at a time.
        label: The name to go by, where there are several of these.
    """

    batch: Count = 1
    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "byte"
    kind: ClassVar[Kind] = "counted"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        return float(peak_memory(subject.net.deployed(), subject.shape, batch=self.batch))


@OBJECTIVES.register("training_cost")
@dataclass(frozen=True)
class TrainingCost(Objective):
    """Floating-point operations of the whole training: attack, forward, backward, loss, of all steps.

    Counted, and so the same on every device. Validation in between does not count, nor do repeated trainings.
    """

    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "FLOP"
    kind: ClassVar[Kind] = "spent"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        if subject.spec is None or subject.trained_on is None:
            raise ValueError("the cost of a training needs to know the training")
        count = rough_training_flops if subject.rough else training_flops
        return float(count(subject.spec, subject.trained_on))


@OBJECTIVES.register("latency")
@dataclass(frozen=True)
class Latency(Objective):
    """Inference time of the deployed network, in milliseconds a batch, on the device where it was trained.

    A time is measured, not derived: it differs between runs, and so does a front that depends on it. It is
    measured in rounds: the least of their medians counts. The network is run as it is exported, in eval mode,
    without gradients, by PyTorch: batch normalization is not folded, nothing is compiled.

    Attributes:
        batch: Images at a time.
        repeats: Timed passes in all; fewer where they would take more than some seconds.
        label: The name to go by, where there are several of these.
        threads: CPU threads, whatever the training has.
        rounds: In how many rounds passes are timed; others may measure in between.
        tolerance: By what share times may differ and still be alike in dominance, see
            `moosearch.evaluation.ObjectiveInfo`.
    """

    batch: Count = 1
    repeats: Count = 50
    label: str = ""
    threads: Count = late(1)
    rounds: Count = late(5)
    tolerance: Tolerance = late(0.0)
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "ms"
    kind: ClassVar[Kind] = "timed"

    def measure(self, subject: Subject) -> float:
        """Return milliseconds a batch."""
        measured = measure_latency(
            subject.net.deployed(),
            subject.shape,
            batch=min(self.batch, ROUGH) if subject.rough else self.batch,
            repeats=1 if subject.rough else self.repeats,
            rounds=1 if subject.rough else self.rounds,
            threads=self.threads,
        )
        subject.noise[key_of(self)] = measured.variation
        return measured.value


@OBJECTIVES.register("energy")
@dataclass(frozen=True)
class Energy(Objective):
    """Energy of inference of the deployed network, in millijoules an image, as an NVIDIA GPU reports it.

    It is measured in rounds, of which the least counts. What the GPU uses for being there is part of it, and
    so is whatever else runs on it: give each candidate a GPU of its own. It needs the extra ``energy``.

    Attributes:
        batch: Images at a time.
        seconds: How long a round takes at least: the meter moves in steps.
        rounds: In how many rounds it is measured.
        tolerance: By what share energies may differ and still be alike in dominance, see
            `moosearch.evaluation.ObjectiveInfo`.
        label: The name to go by, where there are several of these.
    """

    batch: Count = 256
    seconds: Positive = 1.0
    rounds: Count = 3
    tolerance: Tolerance = 0.05
    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "mJ"
    kind: ClassVar[Kind] = "timed"

    def measure(self, subject: Subject) -> float:
        """Return millijoules an image."""
        network = subject.net.deployed()
        meter = energy_meter(next(network.parameters()).device)
        if subject.rough:
            return measure_latency(network, subject.shape, batch=self.batch, repeats=1).value
        measured = measure_energy(
            network, subject.shape, meter, batch=self.batch, seconds=self.seconds, rounds=self.rounds
        )
        subject.noise[key_of(self)] = measured.variation
        return measured.value
