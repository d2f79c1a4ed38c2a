"""A campaign from start to end: ask, look up or evaluate, append, tell; once a generation.

Resume is replay: the algorithm starts from its seed, and the ledger answers for what was evaluated.
"""

import dataclasses
import json
import platform
from collections.abc import Sequence

import pandas as pd

from moosearch.algorithms import ALGORITHMS
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.ledger import Header, Ledger
from moosearch.campaign.plan import Plan
from moosearch.campaign.report import write_tables
from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import EpochDone, Job, Outcome, Pool
from moosearch.evaluators.work import versions
from moosearch.pareto import Front, to_losses, to_violations
from moosearch.space.files import dump


class Observer:
    """Is told what happens in a campaign; this one ignores it."""

    def started(self, plan: Plan, known: int, workers: int) -> None:
        """Hear that the campaign starts, with the number of candidates that the ledger knows already."""

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Hear that a generation starts, with the candidates that must be evaluated."""

    def epoch_done(self, epoch: EpochDone) -> None:
        """Hear that a candidate trained for another epoch."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """Hear that a candidate was evaluated and stored."""

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Hear that a generation ended, with everything evaluated so far."""

    def confirmation_started(self, plan: Plan, trainings: int, known: int, workers: int) -> None:
        """Hear that a confirmation starts, of so many trainings, some of which are known already."""

    def confirmed(self, outcome: Outcome) -> None:
        """Hear that a training of a confirmation was judged, or failed, and was stored."""


def run(plan: Plan, folder: CampaignFolder, observer: Observer | None = None) -> None:
    """Run a campaign to its end, or go on with it.

    Args:
        plan: What to do.
        folder: Where; created, or holding the same campaign.
        observer: Is told what happens.

    Raises:
        DataUnavailableError: The images are not there.
        CampaignError: Another process runs the campaign, Ray has not what is needed, or the whole first
            generation failed.
    """
    observer = observer or Observer()
    for dataset in plan.datasets:
        dataset.prepare()
    folder.create()
    with folder.lock():
        if not folder.spec.exists():
            write_atomically(folder.spec, dump(plan.to_tree()))
            write_atomically(folder.environment, json.dumps(_environment(), indent=2) + "\n")
        ledger = _ledger(plan, folder)
        with plan.campaign.evaluator.open(plan.work, plan.campaign.resources) as pool:
            known = {e.candidate.id: e for e in ledger.evaluations()}
            observer.started(plan, len(known), pool.workers)
            _generations(plan, folder, ledger, pool, known, observer)
        ledger.conclude()
        write_tables(folder, ledger)


def _ledger(plan: Plan, folder: CampaignFolder) -> Ledger:
    """Open the ledger; where there is none, it appears as a whole: a reader of half would complete it."""
    if not folder.study.exists():
        folder.fresh_study.unlink(missing_ok=True)
        Ledger.create(f"sqlite:///{folder.fresh_study.as_posix()}", _header(plan), plan.space.genes())
        folder.fresh_study.rename(folder.study)
    return Ledger.create(folder.storage, _header(plan), plan.space.genes())


def _generations(
    plan: Plan,
    folder: CampaignFolder,
    ledger: Ledger,
    pool: Pool,
    known: dict[str, Evaluation],
    observer: Observer,
) -> None:
    search = plan.campaign.algorithm.start(plan.problem)
    texts = [str(constraint) for constraint in plan.constraints]
    so_far: list[Evaluation] = []
    for number in range(1, plan.campaign.budget.generations + 1):
        candidates = search.ask()
        if not candidates:
            break
        positions = {candidate.id: index for index, candidate in enumerate(candidates)}
        missing = [c for c in candidates if c.id not in known]
        observer.generation_started(number, missing)
        if missing:
            ledger.announce(number, missing)
        for outcome in pool.evaluate([Job(candidate) for candidate in missing]):
            if isinstance(outcome, EpochDone):
                observer.epoch_done(outcome)
                continue
            evaluation = dataclasses.replace(
                outcome.evaluation,
                generation=number,
                index=positions[outcome.evaluation.candidate.id],
            )
            _store(folder, ledger, outcome, evaluation)
            known[evaluation.candidate.id] = evaluation
            observer.evaluated(evaluation)
        told = [known[candidate.id] for candidate in candidates]
        more = number < plan.campaign.budget.generations
        if number == 1 and more and all(e.status == "failed" for e in told):
            raise CampaignError(
                f"all {len(told)} candidates of the first generation failed, the first with: "
                f"{told[0].reason}. They are stored with their tracebacks in {folder.root}."
            )
        so_far += told
        search.tell(to_losses(told, plan.objectives), to_violations(told, texts))
        if plan.campaign.keep == "front":
            # Of all that is known, not of this generation: in a replay, later members have their models.
            front = Front.of(list(known.values()), plan.objectives)
            folder.keep_models({e.candidate.id for e in front})
        if missing:
            write_tables(folder, ledger)
        observer.generation_finished(number, so_far)


def _store(folder: CampaignFolder, ledger: Ledger, outcome: Outcome, evaluation: Evaluation) -> None:
    """Write weights, then the ledger: what the ledger knows has its weights."""
    identity = evaluation.candidate.id
    for name, state in outcome.checkpoints.items():
        write_atomically(folder.weights(identity, name), state)
    if outcome.history:
        history = pd.DataFrame(outcome.history).to_csv(index=False)
        write_atomically(folder.history(identity), history)
    ledger.append(evaluation)


def _header(plan: Plan) -> Header:
    campaign = plan.campaign
    return Header(
        campaign.name,
        plan.objectives,
        tuple(str(constraint) for constraint in plan.constraints),
        ALGORITHMS.name_of(campaign.algorithm),
        campaign.budget.population,
        campaign.budget.generations,
        campaign.seed,
    )


def _environment() -> dict[str, object]:
    return {"versions": versions(), "machine": platform.machine(), "system": platform.platform()}
