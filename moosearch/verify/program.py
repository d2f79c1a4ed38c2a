"""The images of a box that break the property, as a mixed integer program.

As MIPVerify encodes networks (Tjeng et al. 2019): a ReLU or a maximum that bounds leave open gets binaries,
all others are linear and need no variable. What is maximized is a number m that is at most as large as
``F_c - F_t`` of as many classes c as there are labels: so the top-th largest difference (Mour 2023).
"""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from moosearch.verify.bounds import Lines, Relaxation, differences
from moosearch.verify.piecewise import Affine, Vector


class Program:
    """A mixed integer program as it grows: variables, and rows between bounds.

    Attributes:
        moving: Which pixels move; the first variables are theirs.
        lower: Of every variable; the last is the margin, which is maximized.
        upper: Of every variable.
        integral: Which variables are binaries.
        rows: Columns, values, and bounds of the sum.
    """

    def __init__(self, lower: Vector, upper: Vector, moving: NDArray[np.int64]) -> None:
        self.moving = moving
        self.lower, self.upper = list(lower), list(upper)
        self.integral = [False] * len(lower)
        self.rows: list[tuple[NDArray[np.int64], Vector, float, float]] = []

    @property
    def count(self) -> int:
        """Number of variables."""
        return len(self.lower)

    def variable(self, lower: float, upper: float, *, integral: bool = False) -> int:
        """Add a variable, and return its number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.integral.append(integral)
        return self.count - 1

    def row(
        self,
        expression: tuple[NDArray[np.int64], Vector],
        more: dict[int, float],
        lower: float = -np.inf,
        upper: float = np.inf,
    ) -> None:
        """Add ``lower <= expression + more <= upper``."""
        columns, values = expression
        self.rows.append(
            (
                np.concatenate([columns, np.fromiter(more, np.int64, len(more))]),
                np.concatenate([values, np.fromiter(more.values(), np.float64, len(more))]),
                lower,
                upper,
            )
        )

    def image(self, values: Vector, still: Vector) -> Vector:
        """Return the image of a solution: (V,), and (n,) an image with the pixels that stay -> (n,)."""
        x = still.copy()
        x[self.moving] = values[: len(self.moving)]
        return x

    def at(self, x: Vector) -> "Program":
        """Return the program of one image of the box alone, whatever its margin: (n,)."""
        found = copy.copy(self)
        found.lower, found.upper = self.lower.copy(), self.upper.copy()
        found.lower[: len(self.moving)] = found.upper[: len(self.moving)] = list(x[self.moving])
        found.lower[-1] = -np.inf
        return found


class _Expressions:
    """Affine expressions of the variables, one for each number of a vector: ``weight v + constant``."""

    def __init__(self, weight: csr_array, constant: Vector) -> None:
        self.weight, self.constant = weight, constant

    def row(self, number: int) -> tuple[NDArray[np.int64], Vector]:
        of = slice(self.weight.indptr[number], self.weight.indptr[number + 1])
        return self.weight.indices[of].astype(np.int64), self.weight.data[of]

    def widened(self, columns: int) -> csr_array:
        parts = self.weight.data, self.weight.indices, self.weight.indptr
        return csr_array(parts, (len(self.constant), columns))


def encode(
    relaxation: Relaxation, target: int, others: Sequence[int], *, top: int, at_least: float
) -> Program:
    """Return the program of the images with a margin; see `moosearch.verify.milp.solve` for the arguments."""
    box = relaxation.box
    moving = np.flatnonzero(box.upper > box.lower)
    program = Program(box.lower[moving], box.upper[moving], moving)
    columns = np.arange(len(moving))
    places = csr_array((np.ones(len(moving)), (moving, columns)), (box.lower.size, len(moving)))
    still = np.where(box.upper > box.lower, 0.0, box.lower)
    x = _Expressions(places, still)
    network = relaxation.network
    for step, inputs, relaxed in zip(network.steps, relaxation.inputs, relaxation.relaxed, strict=True):
        if isinstance(step, Affine):
            x = _Expressions(csr_array(step.weight @ x.weight), step.weight @ x.constant + step.bias)
        elif isinstance(relaxed, Lines):
            x = _pool(program, x, inputs.lower, inputs.upper, relaxed)
        else:
            x = _relu(program, x, inputs.lower, inputs.upper)
    rows = csr_array(differences(relaxation.network.classes, target, others))
    gaps = _Expressions(csr_array(rows @ x.weight), np.asarray(rows @ x.constant))
    highest = relaxation.upper(rows.toarray())
    lowest = -relaxation.upper(-rows.toarray())
    ceiling = float(np.sort(highest)[-top])  # no more than top - 1 classes can come above it
    chosen = [program.variable(0, 1, integral=True) for _ in others]
    margin = program.variable(at_least, max(ceiling, at_least))
    for number, binary in enumerate(chosen):
        slack = max(ceiling - lowest[number], 0.0)
        columns, values = gaps.row(number)
        # margin <= gap + slack (1 - binary)
        program.row((columns, -values), {margin: 1.0, binary: slack}, upper=gaps.constant[number] + slack)
    program.row((np.array(chosen), np.ones(len(chosen))), {}, lower=top, upper=top)
    return program


def _relu(program: Program, x: _Expressions, lower: Vector, upper: Vector) -> _Expressions:
    open_ = np.flatnonzero((lower < 0) & (upper > 0))
    passed = (lower >= 0).astype(np.float64)
    fresh = []
    for number in map(int, open_):
        low, high = float(lower[number]), float(upper[number])
        columns, values = x.row(number)
        constant = float(x.constant[number])
        value, binary = program.variable(0, high), program.variable(0, 1, integral=True)
        program.row((columns, -values), {value: 1.0}, lower=constant)
        program.row((columns, -values), {value: 1.0, binary: -low}, upper=constant - low)
        program.row((np.array([], np.int64), np.array([])), {value: 1.0, binary: -high}, upper=0.0)
        fresh.append(value)
    return _replaced(program, x, passed, open_, np.array(fresh, np.int64))


def _pool(program: Program, x: _Expressions, lower: Vector, upper: Vector, lines: Lines) -> _Expressions:
    best = lines.windows[np.arange(len(lines.windows)), lines.leader]
    open_, fresh = [], []
    for number, (window, may) in enumerate(zip(lines.windows, lines.rivals, strict=True)):
        rivals = [int(i) for i in window[may]]
        if not rivals:
            continue
        floor = lower[best[number]]
        rivals.append(int(best[number]))
        ceiling = float(upper[rivals].max())
        value = program.variable(float(floor), ceiling)
        binaries = [program.variable(0, 1, integral=True) for _ in rivals]
        for rival, binary in zip(rivals, binaries, strict=True):
            columns, values = x.row(rival)
            constant, slack = float(x.constant[rival]), ceiling - float(lower[rival])
            program.row((columns, -values), {value: 1.0}, lower=constant)
            program.row((columns, -values), {value: 1.0, binary: slack}, upper=constant + slack)
        program.row((np.array(binaries), np.ones(len(binaries))), {}, lower=1, upper=1)
        open_.append(number)
        fresh.append(value)
    pooled = _Expressions(csr_array(x.weight[best]), x.constant[best])
    passed = np.ones(len(lines.windows))
    passed[open_] = 0
    return _replaced(program, pooled, passed, np.array(open_, np.int64), np.array(fresh, np.int64))


def _replaced(
    program: Program,
    x: _Expressions,
    passed: Vector,
    open_: NDArray[np.int64],
    fresh: NDArray[np.int64],
) -> _Expressions:
    """Return expressions that pass where they do, are variables where these are fresh, and 0 elsewhere."""
    keep = csr_array((passed, (np.arange(len(passed)), np.arange(len(passed)))))
    new = csr_array((np.ones(len(open_)), (open_, fresh)), (len(passed), program.count))
    return _Expressions(csr_array(keep @ x.widened(program.count) + new), passed * x.constant)
