"""The generational loop: ask, look up or evaluate, tell; the next generation waits for all of this one."""

import contextlib
import dataclasses

from moosearch.algorithms import Search
from moosearch.campaign.observer import GenerationStarted
from moosearch.job import Job
from moosearch.pareto import to_losses, to_violations
from moosearch.run.state import Running


def generational(search: Search, running: Running) -> None:
    """Search generation by generation.

    Raises:
        CampaignError: Too many candidates failed.
        Stopped: Somebody wished it.
    """
    plan, known = running.plan, running.known
    texts = [str(constraint) for constraint in plan.constraints]
    for number in range(1, plan.campaign.budget.generations + 1):
        candidates = search.ask()
        if not candidates:
            break
        positions = {candidate.id: index for index, candidate in enumerate(candidates)}
        missing = [c for c in candidates if c.id not in known]
        running.observer(GenerationStarted(number, tuple(missing)))
        if missing:
            running.view.announce(number, [candidate.id for candidate in missing])
        for candidate in missing:
            running.conductor.submit(Job(candidate))
        with contextlib.closing(running.conductor.outcomes()) as outcomes:
            for outcome in outcomes:
                index = positions[outcome.job.candidate.id]
                running.store(
                    outcome, dataclasses.replace(outcome.evaluation, generation=number, index=index)
                )
        told = [known[candidate.id] for candidate in candidates]
        running.told += told
        running.check_failures()
        search.tell(to_losses(told, plan.objectives), to_violations(told, texts))
        running.prune()
        if missing:
            running.write_tables()
        running.finish_generation(number)
