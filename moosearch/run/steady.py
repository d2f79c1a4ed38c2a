"""The steady-state loop: a candidate is asked for whenever a worker is free, and told when it is done.

What the log knows is repeated first, in the recorded order of asks and tells, so that the search is where
it was; candidates that were in flight are submitted again. An order that the folder imposes is followed to
its end: outcomes that come early are stored, and held back until it is their turn to be told.
"""

import contextlib
import dataclasses

from moosearch.algorithms import SteadySearch
from moosearch.campaign.observer import GenerationStarted
from moosearch.campaign.order import Ask, Order
from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate, Evaluation
from moosearch.job import Job, Outcome
from moosearch.pareto import to_losses, to_violations
from moosearch.run.state import Running


def steady(search: SteadySearch, running: Running) -> None:
    """Search candidate by candidate.

    Raises:
        CampaignError: Too many candidates failed, or the search does not ask for what is recorded.
        Stopped: Somebody wished it.
    """
    loop = _Loop(search, running)
    loop.advance()
    with contextlib.closing(running.conductor.outcomes()) as outcomes:
        for outcome in outcomes:
            loop.store(outcome)
            loop.advance()
    loop.conclude()


class _Loop:
    def __init__(self, search: SteadySearch, running: Running) -> None:
        self._search, self._running = search, running
        budget = running.plan.campaign.budget
        self._population, self._budget = budget.population, budget.population * budget.generations
        self._recorded = _recorded(running, self._population)
        self._turns = {identity: turn for turn, identity in enumerate(self._recorded.tells, start=1)}
        self._asked = self._begun = 0
        self._exhausted = self._fresh = False
        self._flying: dict[str, tuple[Ask, Candidate]] = {}
        self._arrived: Evaluation | None = None

    def advance(self) -> None:
        """Ask and tell whatever can be asked and told now, then submit what must be evaluated."""
        submitted: list[Candidate] = []
        while True:
            if self._may_ask():
                candidate = self._ask()
                if candidate is not None:
                    submitted.append(candidate)
            elif (evaluation := self._next()) is not None:
                self._tell(evaluation)
            else:
                break
        if self._flying:
            self._begin(self._generation)
        if submitted:
            flying = [ask for ask, _ in self._flying.values()]
            self._running.view.announce(self._generation, [ask.candidate for ask in flying], flying)
        for candidate in submitted:
            self._running.conductor.submit(Job(candidate))

    def store(self, outcome: Outcome) -> None:
        """Store an outcome with its places in the order of asks and in that of tells."""
        ask, _ = self._flying.pop(outcome.job.candidate.id)
        evaluation = dataclasses.replace(
            outcome.evaluation,
            generation=1 + ask.number // self._population,
            index=ask.number % self._population,
            asked_after=ask.after,
            told=self._turns.get(ask.candidate, len(self._running.told) + 1),
        )
        self._running.store(outcome, evaluation)
        self._fresh = True
        if ask.candidate not in self._turns:
            self._arrived = evaluation

    def conclude(self) -> None:
        """End the last generation, where the space was exhausted in the middle of it."""
        if len(self._running.told) % self._population:
            self._finish(self._generation)

    @property
    def _generation(self) -> int:
        return 1 + len(self._running.told) // self._population

    def _may_ask(self) -> bool:
        told = len(self._running.told)
        if self._asked < len(self._recorded.asks):
            return self._recorded.asks[self._asked].after == told
        return (
            told >= len(self._recorded.tells)
            and self._arrived is None
            and len(self._flying) < self._running.conductor.workers
            and self._asked < self._budget
            and not self._exhausted
        )

    def _ask(self) -> Candidate | None:
        """Ask; return the candidate where it must be evaluated."""
        candidate, number = self._search.ask(), self._asked
        if number < len(self._recorded.asks):
            self._compare(candidate, self._recorded.asks[number])
        if candidate is None:
            self._exhausted = True
            return None
        self._asked += 1
        if candidate.id in self._running.known:
            return None
        ask = Ask(candidate.id, number, len(self._running.told))
        self._flying[candidate.id] = ask, candidate
        self._running.log.append("asked", candidate=ask.candidate, ask=ask.number, after=ask.after)
        return candidate

    def _compare(self, candidate: Candidate | None, ask: Ask) -> None:
        if candidate is None or candidate.id != ask.candidate:
            asked = "nothing" if candidate is None else candidate.id
            raise CampaignError(
                f"{self._running.folder.root}: the search asks for {asked} where it asked for "
                f"{ask.candidate}, candidate {ask.number + 1} of the recorded order: that is of another "
                f"version (see {self._running.folder.environment.name}), or candidates came out otherwise."
            )

    def _next(self) -> Evaluation | None:
        """Return whose turn it is to be told, where that is known."""
        told = len(self._running.told)
        if told < len(self._recorded.tells):
            return self._running.known.get(self._recorded.tells[told])
        return self._arrived

    def _tell(self, evaluation: Evaluation) -> None:
        running, plan = self._running, self._running.plan
        texts = [str(constraint) for constraint in plan.constraints]
        losses, violations = to_losses([evaluation], plan.objectives), to_violations([evaluation], texts)
        generation = self._generation
        running.told.append(evaluation)
        self._arrived = None
        self._search.tell(evaluation.candidate.id, losses[0], violations[0])
        if len(running.told) % self._population == 0:
            self._finish(generation)

    def _begin(self, generation: int) -> None:
        """Say that a generation starts, with those in flight: the others are not known yet."""
        if generation > self._begun:
            self._begun = generation
            flying = tuple(candidate for _, candidate in self._flying.values())
            self._running.observer(GenerationStarted(generation, flying))

    def _finish(self, generation: int) -> None:
        """See to what is due after every ``population`` tells."""
        running = self._running
        self._begin(generation)
        running.check_failures()
        running.prune()
        if self._fresh:
            running.write_tables()
            self._fresh = False
        running.finish_generation(generation)


def _recorded(running: Running, population: int) -> Order:
    """Return the order that is imposed, or else the one that the log tells of."""
    imposed, known = running.folder.order, list(running.known.values())
    try:
        if imposed.is_file():
            order = Order.of_json(imposed.read_text())
            if len(order.tells) < len(order.asks):
                raise ValueError(f"{imposed.name} is the order of an unfinished search")
            return order
        return Order.of(known, population, running.asks)
    except ValueError as error:
        raise CampaignError(f"{running.folder.root}: this search cannot go on: {error}.") from error
