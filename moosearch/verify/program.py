"""Complete verification: a mixed integer program, solved by HiGHS, of the images that break the property.

As MIPVerify encodes networks (Tjeng et al. 2019): a ReLU or a maximum that bounds leave open gets binaries,
all others are linear and need no variable. What is maximized is a number m that is at most as large as
``F_c - F_t`` of as many classes c as there are labels: so the top-th largest difference (Mour 2023).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from moosearch.verify.bounds import Lines, Relaxation, differences
from moosearch.verify.piecewise import Affine, Vector
from moosearch.verify.searched import Searched

FEASIBILITY = 1e-9
"""By how much the solver may break a constraint, and a binary be none."""


def solve(
    relaxation: Relaxation,
    target: int,
    others: Sequence[int],
    *,
    top: int,
    at_least: float,
    time_limit: float,
    until: float | None = 0.0,
    seed: int = 0,
) -> Searched:
    """Look for an image of the box where ``top`` classes come within a margin of the target, or exceed it.

    Args:
        relaxation: Network and box, bounded.
        target: The target's class.
        others: The classes that may exceed it; at least ``top`` of them.
        top: How many labels an image has.
        at_least: The margin that is asked for, a little below 0 to be on the safe side.
        time_limit: In seconds.
        until: Margin at which the search may end; None to go on to the largest.
        seed: Of the solver.
    """
    import highspy  # bounds do without it

    program = _encode(relaxation, target, others, top=top, at_least=at_least)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {
        "output_flag": False,
        "threads": 1,
        "random_seed": seed,
        "time_limit": max(time_limit, 0.0),
        "mip_feasibility_tolerance": FEASIBILITY,
        "primal_feasibility_tolerance": FEASIBILITY,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": FEASIBILITY,
    }.items():
        solver.setOptionValue(name, value)
    if until is not None:
        solver.setOptionValue("objective_target", -until)
    solver.passModel(program.model())
    solver.run()
    status, kinds = solver.getModelStatus(), highspy.HighsModelStatus
    if status == kinds.kInfeasible:
        return Searched("none", None)
    values = np.array(solver.getSolution().col_value)
    has_solution = solver.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if has_solution and len(values):
        box = relaxation.box
        x = box.lower.copy()
        x[program.moving] = values[: len(program.moving)]
        return Searched("found", np.clip(x, box.lower, box.upper))
    return Searched("unknown", None)


class _Program:
    """A mixed integer program as it grows: variables, and rows between bounds."""

    def __init__(self, lower: Vector, upper: Vector, moving: NDArray[np.int64]) -> None:
        self.moving = moving
        self.lower, self.upper = list(lower), list(upper)
        self.integral = [False] * len(lower)
        self.rows: list[tuple[NDArray[np.int64], Vector, float, float]] = []

    @property
    def count(self) -> int:
        return len(self.lower)

    def variable(self, lower: float, upper: float, *, integral: bool = False) -> int:
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

    def model(self) -> Any:
        """Return it as HiGHS takes it: the last variable is maximized."""
        import highspy

        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.count, len(self.rows)
        cost = np.zeros(self.count)
        cost[-1] = -1.0
        lp.col_cost_ = cost
        lp.col_lower_, lp.col_upper_ = np.array(self.lower), np.array(self.upper)
        lp.row_lower_ = np.array([row[2] for row in self.rows])
        lp.row_upper_ = np.array([row[3] for row in self.rows])
        lengths = [len(row[0]) for row in self.rows]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        lp.a_matrix_.index_ = np.concatenate([row[0] for row in self.rows]).astype(np.int32)
        lp.a_matrix_.value_ = np.concatenate([row[1] for row in self.rows])
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in self.integral]
        return lp


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


def _encode(
    relaxation: Relaxation, target: int, others: Sequence[int], *, top: int, at_least: float
) -> _Program:
    box = relaxation.box
    moving = np.flatnonzero(box.upper > box.lower)
    program = _Program(box.lower[moving], box.upper[moving], moving)
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


def _relu(program: _Program, x: _Expressions, lower: Vector, upper: Vector) -> _Expressions:
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


def _pool(program: _Program, x: _Expressions, lower: Vector, upper: Vector, lines: Lines) -> _Expressions:
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
    program: _Program,
    x: _Expressions,
    passed: Vector,
    open_: NDArray[np.int64],
    fresh: NDArray[np.int64],
) -> _Expressions:
    """Return expressions that pass where they do, are variables where these are fresh, and 0 elsewhere."""
    keep = csr_array((passed, (np.arange(len(passed)), np.arange(len(passed)))))
    new = csr_array((np.ones(len(open_)), (open_, fresh)), (len(passed), program.count))
    return _Expressions(csr_array(keep @ x.widened(program.count) + new), passed * x.constant)
