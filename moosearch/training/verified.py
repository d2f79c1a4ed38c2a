"""What is proved of candidates."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic

from moosearch.evaluation import Sense
from moosearch.registry import NonNegative
from moosearch.training.objectives import OBJECTIVES, Kind, Objective, Subject


@OBJECTIVES.register("verified_fraction")
@dataclass(frozen=True)
class VerifiedFraction(Objective):
    """Fraction of images classified rightly in a whole l_inf ball, proved: certified accuracy.

    It is at most what any attack leaves of the same images. A confirmation measures it on test images.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        images: The first ones, the same for all candidates; 0 for all.
        time_limit: Seconds a label that a complete search may take where bounds do not tell; 0 for bounds
            alone. With a search, the value depends on how fast the machine is.
        label: The name to go by, where there are several of these.
    """

    eps: NonNegative = 0.1
    images: Annotated[int, pydantic.Field(ge=0)] = 100
    time_limit: NonNegative = 0.0
    label: str = ""
    sense: ClassVar[Sense] = "maximize"
    unit: ClassVar[str] = "fraction"
    kind: ClassVar[Kind] = "fraction"

    def measure(self, subject: Subject) -> float:
        """Return a fraction in [0, 1]."""
        from moosearch.verify import Effort, Piecewise, certify, points  # brings SciPy's sparse matrices

        effort = Effort(time_limit=self.time_limit) if self.time_limit else Effort(complete=False)
        network = Piecewise.of(subject.net.deployed(), subject.shape)
        asked = points(subject.images.first(self.images))
        standings = [certify(network, x, labels, self.eps, effort).standing for x, labels in asked]
        return standings.count("robust") / len(standings)
