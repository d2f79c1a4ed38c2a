"""Which genes matter for which objective, and which values of them the front has.

A gene under an option, such as ``training.loss.trades.beta``, exists only in the candidates that took the
option. Its importance is that among them; the option's own is that of the gene that chooses it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from moosearch.analysis.gene_columns import Column, is_logarithmic
from moosearch.campaign.tables import records
from moosearch.errors import SpecError, nearest
from moosearch.evaluation import Evaluation, Genome, ObjectiveInfo
from moosearch.pareto import Front
from moosearch.pareto.dominance import Array
from moosearch.seeding import derive_seed, numpy_generator
from moosearch.text import counted

Method = Literal["permutation", "fanova"]
METHODS: Mapping[str, str] = {
    "permutation": "how far R^2 of a random forest falls, for candidates that it has not seen, when the "
    "values of the gene are shuffled among the candidates that have it",
    "fanova": "share of the variance of a random forest's predictions that is due to the gene alone "
    "(Optuna's fANOVA); the forest sees the genes that every candidate has, and no others",
}
"""What each method's numbers mean."""

FEWEST = 20
"""Candidates below which no importance is believed; below half of it none is computed."""
LEAST_R2 = 0.3
"""The R^2 below which a forest knows too little of an objective for its importances to be believed."""
MOST = 1000
"""Candidates that are used at most, drawn at random: more take longer and change little."""
FOLDS, TREES, SHUFFLES = 5, 100, 20
HOLDERS = 5
"""Candidates with a gene below which its importance is not computed."""


@dataclass(frozen=True)
class Importances:
    """How much each gene matters for each objective.

    Attributes:
        method: How it was found; see `METHODS`.
        table: A row a gene (the index), a column an objective: importances, NaN where there is none. Those
            of ``permutation`` scatter around 0 where a gene does not matter, so that they may be negative.
        trust: A row an objective (the index): ``r2``, the cross-validated R^2 of a random forest on the
            same genes, NaN where there are too few candidates; ``believed``, whether it is high enough.
        genes: A row a gene (the index): ``within``, the option under which it exists, empty where every
            candidate has it; ``candidates`` that have it; ``values``, how many different ones.
        notes: Lines that say which candidates were used, and what is not to be believed.
    """

    method: Method
    table: pd.DataFrame
    trust: pd.DataFrame
    genes: pd.DataFrame
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one frame: a row a gene, with where it exists, and its importance for each objective."""
        return self.genes.join(self.table).reset_index()

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data, as JSON has it: NaN is None."""
        frames = {"genes": self.to_frame(), "trust": self.trust.reset_index()}
        return {
            "method": self.method,
            "meaning": METHODS[self.method],
            **{name: records(frame) for name, frame in frames.items()},
            "notes": list(self.notes),
        }


def importance(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[ObjectiveInfo],
    seed: int = 0,
    method: Method = "permutation",
) -> pd.DataFrame:
    """Return how much each gene matters for each objective: a row a gene, a column an objective.

    The table of `gene_importances`, which also says how far it is to be believed.
    """
    return gene_importances(evaluations, objectives, seed, method).table


def method_of(name: str) -> Method:
    """Return the method of a name.

    Raises:
        SpecError: There is none.
    """
    for method in get_args(Method):
        if method == name:
            return method  # type: ignore[no-any-return]
    raise SpecError(f"--method: no method is called '{name}'. {nearest(name, METHODS)}")


def gene_importances(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[ObjectiveInfo],
    seed: int = 0,
    method: Method = "permutation",
) -> Importances:
    """Find out how much each gene matters for each objective.

    Used are the candidates that completed, feasible or not: all of them say what a gene does. Genes that
    have one value are left out.

    Args:
        evaluations: Of one campaign, or of several of one space.
        objectives: What was measured.
        seed: Of the forests, folds and shuffles; the same seed gives the same numbers.
        method: One of `METHODS`.

    Raises:
        SpecError: No candidate completed.

    Source: Breiman 2001, section 10 (permutation, here in cross-validation); Hutter, Hoos & Leyton-Brown
    2014 (fANOVA).
    """
    complete = [e for e in evaluations if e.status == "complete"]
    if not complete:
        raise SpecError("no candidate completed: nothing can be said of genes.")
    used = drawn(complete, MOST, derive_seed(seed, "importance: candidates"))
    left = f", {MOST:,} of them drawn at random" if len(used) < len(complete) else ""
    known = describe_genes(used)
    genes = known[known["values"] > 1]
    values = np.array([[e.objectives[o.key] for o in objectives] for e in used])
    columns = [Column.of(path, used) for path in genes.index]
    table = pd.DataFrame(np.nan, index=genes.index, columns=[o.key for o in objectives])
    trust = pd.DataFrame({"r2": np.nan, "believed": False}, index=pd.Index(table.columns, name="objective"))
    if method == "fanova":
        columns = [column for column in columns if column.present.all()]
    paths = [column.path for column in columns]
    if 2 * len(used) >= FEWEST and columns:
        for key, measured in zip(table.columns, values.T, strict=True):
            drops, r2 = _permuted(columns, measured, derive_seed(seed, "importance: forest"))
            if method == "fanova":
                drops = _fanova(columns, measured, derive_seed(seed, "importance: fanova"))
            table.loc[paths, key] = drops
            trust.loc[key] = [r2, bool(r2 >= LEAST_R2 and len(used) >= FEWEST)]
    failed, infeasible = len(evaluations) - len(complete), sum(not e.feasible for e in complete)
    notes = [
        f"{method}: {METHODS[method]}",
        f"used: {counted(len(complete), 'candidate')} that completed, {infeasible} of them "
        f"infeasible{left}; left out: "
        f"{failed} that failed",
    ]
    constant = sorted(set(known.index) - set(genes.index))
    if constant:
        notes.append(f"left out, as they have one value: {', '.join(constant)}")
    return Importances(method, table, trust, genes, (*notes, *_doubts(trust, len(used))))


def drawn(evaluations: Sequence[Evaluation], most: int, seed: int) -> list[Evaluation]:
    """Return evaluations in their order: all, or so many drawn at random."""
    count = len(evaluations)
    if count <= most:
        return list(evaluations)
    return [evaluations[i] for i in sorted(numpy_generator(seed).choice(count, most, replace=False))]


def _doubts(trust: pd.DataFrame, candidates: int) -> list[str]:
    if candidates < FEWEST:
        return [f"not to be believed: too few candidates, {candidates} of {FEWEST} that are needed"]
    lines = []
    for key, row in trust.iterrows():
        if math.isnan(row["r2"]):
            lines.append(f"nothing to be said of {key}: it is the same for all candidates, or every gene is")
        elif not row["believed"]:
            lines.append(
                f"not to be believed for {key}: R^2 of a forest that predicts it for candidates that it has "
                f"not seen is {row['r2']:.2f}, below {LEAST_R2:g}"
            )
    return lines


def describe_genes(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Say of every gene where it exists: a row a gene, as in `Importances.genes`."""
    genomes = [e.candidate.genome for e in evaluations]
    paths = sorted({path for genome in genomes for path in genome})
    rows = []
    for path in paths:
        having = [genome for genome in genomes if path in genome]
        values = {genome[path] for genome in having}
        rows.append((path, _within(path, having[0]), len(having), len(values)))
    return pd.DataFrame(rows, columns=["gene", "within", "candidates", "values"]).set_index("gene")


def _within(path: str, genome: Genome) -> str:
    """Name the option under which a gene of a genome exists, ``loss=trades`` of ``loss.trades.beta``."""
    above = sorted((other for other in genome if path.startswith(f"{other}.")), key=len)
    return ", ".join(f"{parent}={genome[parent]}" for parent in above)


def _distribution(column: Column) -> BaseDistribution:
    """Return what Optuna calls the gene's range, of the values seen."""
    if column.categorical:
        return CategoricalDistribution(column.labels)
    numbers = column.block[column.present, 0]
    low, high = float(numbers.min()), float(numbers.max())
    return FloatDistribution(low, high, log=is_logarithmic(numbers))


def _permuted(columns: Sequence[Column], values: Array, seed: int) -> tuple[Array, float]:
    """Return the drop in R^2 by shuffling each gene, and the R^2, both for candidates held out.

    scikit-learn's `permutation_importance` shuffles a column among all candidates, also among those that do
    not have the gene, and asks the forest once a shuffle, which takes fifty times as long.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    variance = float(values.var())
    if variance == 0:
        return np.full(len(columns), math.nan), math.nan
    generator = numpy_generator(seed)
    inputs = np.concatenate([column.block for column in columns], axis=1)
    ends = np.cumsum([column.block.shape[1] for column in columns])
    shuffled = [_shuffles(column.present, generator) for column in columns]
    random_state = int(generator.integers(2**31))
    errors = np.zeros(len(columns))
    error = 0.0
    for train, test in KFold(FOLDS, shuffle=True, random_state=random_state).split(inputs):
        forest = RandomForestRegressor(TREES, random_state=random_state).fit(inputs[train], values[train])
        error += float(((forest.predict(inputs[test]) - values[test]) ** 2).sum())
        # All genes are asked at once: a forest takes long to begin, and little for a row more.
        asked = np.tile(inputs[test], (len(columns), SHUFFLES, 1, 1))
        for rows, order, column, end in zip(asked, shuffled, columns, ends, strict=True):
            rows[:, :, end - column.block.shape[1] : end] = column.block[order[:, test]]
        predicted = forest.predict(asked.reshape(-1, inputs.shape[1])).reshape(asked.shape[:3])
        errors += ((predicted - values[test]) ** 2).sum(axis=(1, 2)) / SHUFFLES
    total = variance * len(values)
    drops = (errors - error) / total
    few = np.array([column.present.sum() < HOLDERS for column in columns])
    return np.where(few, math.nan, drops), 1 - error / total


def _shuffles(present: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.intp]:
    """Return (SHUFFLES, N) whose value each candidate is given: those without the gene keep theirs."""
    orders = np.tile(np.arange(len(present)), (SHUFFLES, 1))
    holders = np.flatnonzero(present)
    for order in orders:
        order[holders] = generator.permutation(holders)
    return orders


def _fanova(columns: Sequence[Column], values: Array, seed: int) -> Array:
    """Ask Optuna, in a study of its own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    ranges = {column.path: _distribution(column) for column in columns}
    for number, value in enumerate(values):
        params = {column.path: column.values[number] for column in columns}
        study.add_trial(optuna.trial.create_trial(value=float(value), params=params, distributions=ranges))
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=seed % 2**32)
    found = evaluator.evaluate(study, list(ranges))
    return np.array([found[column.path] for column in columns])


def gene_values(evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]) -> pd.DataFrame:
    """Return the values that candidates have of each gene, to set the front's against all others'.

    Returns:
        A row a candidate and gene that it has: ``gene``, ``value`` (number, text or boolean), ``id``, and
        ``group``: ``front``, ``dominated``, ``infeasible`` or ``failed``.
    """
    front = {id(e) for e in Front.of(evaluations, objectives)}
    rows = [
        (path, value, e.candidate.id, _group(e, front=id(e) in front))
        for e in evaluations
        for path, value in sorted(e.candidate.genome.items())
    ]
    frame = pd.DataFrame(rows, columns=["gene", "value", "id", "group"])
    return frame.astype({"value": object}).sort_values("gene", kind="stable", ignore_index=True)


def _group(evaluation: Evaluation, *, front: bool) -> str:
    if evaluation.status == "failed":
        return "failed"
    return "front" if front else "dominated" if evaluation.feasible else "infeasible"
