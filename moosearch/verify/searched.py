"""What a complete search says of a box."""

from typing import Literal, NamedTuple

from moosearch.verify.piecewise import Vector


class Searched(NamedTuple):
    """An answer.

    Attributes:
        status: ``none``: no image breaks the property; ``found``: here is one; ``unknown``: time or memory
            ran out, or the method cannot tell.
        x: (n,) the image, where one was found.
    """

    status: Literal["none", "found", "unknown"]
    x: Vector | None
