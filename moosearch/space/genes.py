"""Genes: the holes of a candidate spec. `Real`, `Integer` and `Choice`, read from one-key mappings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moosearch.errors import Place
from moosearch.evaluation import Scalar
from moosearch.registry import Number, validate_leaf
from moosearch.space.files import option_label

SIGNIFICANT_DIGITS = 4
"""Real values are rounded to this many, so that what is written is what was trained."""


@dataclass(frozen=True)
class Real:
    """A real number in [low, high], uniform, or log-uniform with ``log``; 4 significant digits."""

    low: float
    high: float
    log: bool = False

    def sample(self, generator: np.random.Generator) -> float:
        """Draw a value."""
        return self.decode(generator.uniform(self.encode(self.low), self.encode(self.high)))

    def encode(self, value: float) -> float:
        """Map a value to the scale on which search operators work (its logarithm with ``log``)."""
        return math.log(value) if self.log else float(value)

    def decode(self, code: float) -> float:
        """Map a code back to a value: rounded to 4 significant digits, then clipped to the bounds."""
        value = math.exp(code) if self.log else float(code)
        rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies within the bounds."""
        return not isinstance(value, str | bool) and self.low <= value <= self.high

    @property
    def size(self) -> float:
        """Number of values: infinite, or 1 where the bounds coincide."""
        return math.inf if self.low < self.high else 1

    def to_tree(self) -> dict[str, Any]:
        """Write the gene as in a search space file."""
        return {"log_real" if self.log else "real": [self.low, self.high]}


@dataclass(frozen=True)
class Integer:
    """An integer low, low + step, ..., high; uniform, or log-uniform with ``log`` (then step is 1)."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def sample(self, generator: np.random.Generator) -> int:
        """Draw a value."""
        if self.log:
            code = generator.uniform(self.encode(self.low - 0.5), self.encode(self.high + 0.5))
            return self.decode(code)
        return self.low + self.step * int(generator.integers(self.size))

    def encode(self, value: float) -> float:
        """Map a value to the scale on which search operators work."""
        return math.log(value) if self.log else (value - self.low) / self.step

    def decode(self, code: float) -> int:
        """Map a code back to the nearest value of the gene."""
        if self.log:
            return min(max(round(math.exp(code)), self.low), self.high)
        return self.low + self.step * min(max(round(code), 0), self.size - 1)

    def contains(self, value: Scalar) -> bool:
        """Whether a value is one of the gene's."""
        if isinstance(value, str | bool) or value != int(value):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    @property
    def size(self) -> int:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    def to_tree(self) -> dict[str, Any]:
        """Write the gene as in a search space file."""
        if self.log:
            return {"log_integer": [self.low, self.high]}
        return {"integer": [self.low, self.high, *([self.step] if self.step > 1 else [])]}


@dataclass(frozen=True)
class Choice:
    """One of several options; an option may contain genes, which are active only when it is chosen.

    Attributes:
        labels: The gene's values: the option itself where it is a scalar, else its label or name.
        options: The options, plain data that may contain genes.
    """

    labels: tuple[Scalar, ...]
    options: tuple[Any, ...]

    def sample(self, generator: np.random.Generator) -> Scalar:
        """Draw a label."""
        return self.labels[int(generator.integers(len(self.labels)))]

    def contains(self, value: Scalar) -> bool:
        """Whether a value is one of the labels."""
        return value in self.labels

    def option(self, label: Scalar) -> Any:
        """Return the option of a label."""
        return self.options[self.labels.index(label)]

    def to_tree(self) -> dict[str, Any]:
        """Write the gene as in a search space file; options are already plain or written by the space."""
        return {"choice": list(self.options)}


Gene = Real | Integer | Choice
TAGS = ("real", "log_real", "integer", "log_integer", "choice")


def tag_of(node: Any) -> str | None:
    """Return the gene tag of a node, or None where the node is a value."""
    if isinstance(node, Mapping) and len(node) == 1:
        key = next(iter(node))
        return key if key in TAGS else None
    return None


def parse_bounds(node: Mapping[str, Any], place: Place) -> Real | Integer:
    """Read a real or integer gene such as ``{log_real: [1e-4, 1e-2]}`` or ``{integer: [4, 32, 4]}``.

    Raises:
        SpecError: Not two numbers (or three with a step), bounds out of order, or a bound <= 0 on a
            log scale.
    """
    (tag, bounds), integer = next(iter(node.items())), "integer" in next(iter(node))
    log = tag.startswith("log_")
    example = "[low, high, step]" if tag == "integer" else "[low, high]"
    lengths = (2, 3) if tag == "integer" else (2,)
    if not isinstance(bounds, list) or len(bounds) not in lengths:
        raise place.error(f"got {tag}: {bounds!r}, expected {tag}: {example}.")
    kind = int if integer else Number
    low, high, *rest = (validate_leaf(bound, kind, place.child(tag)) for bound in bounds)
    step = rest[0] if rest else 1
    if low > high:
        raise place.error(f"got {tag}: {bounds!r}, expected low <= high.")
    if integer and max(abs(low), abs(high), step) >= 2**31:
        raise place.error(f"expected {tag} bounds below {2**31}.")
    if log and low <= 0:
        raise place.error(f"got {tag}: {bounds!r}, expected low > 0 on a logarithmic scale.")
    if step < 1:
        raise place.error(f"got {tag}: {bounds!r}, expected a step of at least 1.")
    if integer:
        return Integer(low, low + (high - low) // step * step, step, log)
    return Real(low, high, log)


def choice_labels(options: list[Any], place: Place) -> tuple[Scalar, ...]:
    """Return the labels of a choice's options.

    Raises:
        SpecError: There is no option, or two have the same label.
    """
    if not isinstance(options, list) or not options:
        raise place.error(f"got choice: {options!r}, expected a list of options.")
    labels = tuple(o if isinstance(o, str | int | float) else option_label(o) for o in options)
    texts = [str(label) for label in labels]
    for text in texts:
        if texts.count(text) > 1:
            raise place.error(
                f"two options are called '{text}'. Give each a `label:` of its own, or remove one."
            )
    return labels
