"""A campaign while it runs: what a search loop needs to have candidates evaluated, stored and counted."""

from dataclasses import dataclass, field

import pandas as pd

from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.observer import Evaluated, GenerationFinished, Observer
from moosearch.campaign.order import Ask
from moosearch.campaign.study import StudyView
from moosearch.campaign.tables import write_tables
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation
from moosearch.job import Outcome
from moosearch.pareto import Front
from moosearch.plan.plan import Plan
from moosearch.run.conductor import Conductor
from moosearch.text import counted


@dataclass
class Running:
    """What a search loop works with.

    Attributes:
        plan: What to do.
        folder: The campaign's folder.
        view: What is known, for those who look at it with Optuna.
        log: What is known and what happened, on disk.
        conductor: Does jobs.
        observer: Is called with what happens.
        known: What is evaluated, by candidate id.
        asks: Of a steady-state search: what the log says was asked for.
        told: What the algorithm was told in this process, from the beginning of the campaign.
    """

    plan: Plan
    folder: CampaignFolder
    view: StudyView
    log: EventLog
    conductor: Conductor
    observer: Observer
    known: dict[str, Evaluation]
    asks: list[Ask] = field(default_factory=list)
    told: list[Evaluation] = field(default_factory=list)

    def store(self, outcome: Outcome, evaluation: Evaluation) -> None:
        """Store an outcome as an evaluation: weights, log, study. What the log knows has its weights."""
        self.store_weights(outcome)
        self.log.keep(evaluation)
        self.view.append(evaluation)
        self.known[evaluation.candidate.id] = evaluation
        self.observer(Evaluated(evaluation))

    def store_weights(self, outcome: Outcome) -> None:
        """Store what was trained."""
        identity = outcome.job.candidate.id
        for name, state in outcome.checkpoints.items():
            write_atomically(self.folder.weights(identity, name), state)
        if outcome.history:
            history = pd.DataFrame(outcome.history).to_csv(index=False)
            write_atomically(self.folder.history(identity), history)

    def check_failures(self) -> None:
        """Stop where there is more to do, and it makes no sense to go on.

        Raises:
            CampaignError: A greater share of the candidates told so far failed than the limit allows.
        """
        failed = [e for e in self.told if e.status == "failed"]
        campaign = self.plan.campaign
        limit, budget = campaign.limits.failed, campaign.budget
        if not failed or len(self.told) >= budget.population * budget.generations:
            return
        if len(failed) == len(self.told) == budget.population and limit < 1:
            all_of_them = "the only candidate" if len(failed) == 1 else f"all {len(failed)} candidates"
            what = f"{all_of_them} of the first generation failed"
        elif len(failed) > limit * len(self.told):
            what = (
                f"{len(failed)} of {counted(len(self.told), 'candidate')} failed, more than a share of "
                f"{limit:g}"
            )
        else:
            return
        raise CampaignError(
            f"{what}, the first with: {failed[0].reason}. They are stored with their tracebacks in "
            f"{self.folder.root}; go on all the same by `moosearch resume` with "
            "--set campaign.limits.failed=1."
        )

    def prune(self) -> None:
        """Delete the models that the campaign does not keep."""
        if self.plan.campaign.keep == "front":
            # Of all that is known, not only of what was told: in a replay, later members have their models.
            front = Front.of(list(self.known.values()), self.plan.objectives)
            self.folder.keep_models({e.candidate.id for e in front})

    def finish_generation(self, number: int) -> None:
        """Call the observer with the end of a generation."""
        told = tuple(self.told)
        self.observer(GenerationFinished(number, told, Front.of(told, self.plan.objectives)))

    def write_tables(self) -> None:
        """Write the tables anew."""
        in_order = sorted(self.known.values(), key=lambda e: (e.generation, e.index))
        write_tables(self.folder, in_order, self.plan.header)
