"""HiGHS, asked once. Whether it is to be believed is decided by `moosearch.verify.milp`."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from moosearch.extras import require
from moosearch.verify.piecewise import Vector

if TYPE_CHECKING:
    from moosearch.verify.program import Program

FEASIBILITY = 1e-7
"""By how much the solver may break a constraint, and a binary be none. A smaller one is not safer: at 1e-9
77 of 648 programs of a single image were answered wrongly by HiGHS 1.15.1, at 1e-8 and above none."""


class Claim(NamedTuple):
    """What the solver says of a program.

    Attributes:
        kind: ``infeasible``; ``optimal``: the values are the best; ``feasible``: it ended earlier, with
            values; ``undecided``: it ended earlier, without.
        values: Of all variables, or None.
    """

    kind: Literal["infeasible", "optimal", "feasible", "undecided"]
    values: Vector | None = None


def run(
    program: "Program", *, presolve: bool, time_limit: float, until: float | None = None, seed: int = 0
) -> Claim:
    """Maximize the last variable of a program.

    Args:
        program: The program.
        presolve: Whether the program may be reduced first; faster, and another way to the same answer.
        time_limit: In seconds.
        until: Value at which the search may end; None to go on to the largest.
        seed: Of the solver.

    Raises:
        MissingExtraError: HiGHS is not installed.
    """
    require("a complete search", "verify")
    import highspy  # bounds do without it

    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {
        "output_flag": False,
        "threads": 1,
        "random_seed": seed,
        "presolve": "on" if presolve else "off",
        "time_limit": max(time_limit, 0.0),
        "mip_feasibility_tolerance": FEASIBILITY,
        "primal_feasibility_tolerance": FEASIBILITY,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": FEASIBILITY,
    }.items():
        solver.setOptionValue(name, value)
    if until is not None:
        solver.setOptionValue("objective_target", -until)
    solver.passModel(_model(program))
    solver.run()
    status, kinds = solver.getModelStatus(), highspy.HighsModelStatus
    if status == kinds.kInfeasible:
        return Claim("infeasible")
    has_values = solver.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    values = np.array(solver.getSolution().col_value)
    if not has_values or not len(values):
        return Claim("undecided")
    return Claim("optimal" if status == kinds.kOptimal else "feasible", values)


def _model(program: "Program") -> Any:
    """Return a program as HiGHS takes it."""
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = program.count, len(program.rows)
    cost = np.zeros(program.count)
    cost[-1] = -1.0
    lp.col_cost_ = cost
    lp.col_lower_, lp.col_upper_ = np.array(program.lower), np.array(program.upper)
    lp.row_lower_ = np.array([row[2] for row in program.rows])
    lp.row_upper_ = np.array([row[3] for row in program.rows])
    lengths = [len(row[0]) for row in program.rows]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    lp.a_matrix_.index_ = np.concatenate([row[0] for row in program.rows]).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate([row[1] for row in program.rows])
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in program.integral]
    return lp
