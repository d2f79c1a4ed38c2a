"""Confirmation: the front's recipes are trained again with fresh seeds and judged on test images.

A search estimates on validation images with a cheap attack, and selects on these numbers. This is the strong
measurement after it, and the only part of a campaign that sees test images.
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence

from moosearch.attacks.suite import check_attacks
from moosearch.campaign.campaign import Campaign
from moosearch.campaign.confirmation import Retraining, read_plan
from moosearch.campaign.difference import difference, first_difference
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.observer import ConfirmationStarted, Confirmed, Observer, ignore
from moosearch.campaign.tables import write_tables
from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate
from moosearch.evaluators import Work
from moosearch.job import Job, Outcome
from moosearch.judging.record import attack_tree
from moosearch.plan.plan import Plan, plan
from moosearch.plan.reading import read, suites
from moosearch.plan.spec import ConfirmationSpec
from moosearch.registry import to_tree
from moosearch.run.conductor import Conductor
from moosearch.run.deaths import deaths_in
from moosearch.run.recovery import is_whole_safetensors
from moosearch.run.run import following, prepare, storing
from moosearch.run.stop import Stop
from moosearch.space.files import load, override


def planned(folder: CampaignFolder, overrides: Sequence[str], *, anew: bool = False) -> Plan:
    """Plan a confirmation: what is not given is as it was begun, or else as in the search space file.

    Raises:
        SpecError: Something is wrong.
        CampaignError: The assignments would make it another campaign.
    """
    document = load(folder.spec)
    begun = None if anew else read_plan(folder)
    if begun is not None:
        document.data["campaign"]["confirmation"] = begun["spec"]
    reading = read(override(document, overrides))
    change = difference(read(document).identity(), reading.identity()) if overrides else ""
    if change:
        raise CampaignError(f"{folder.root}: that would be another campaign: {change}.")
    return plan(reading)


def confirm(
    plan: Plan,
    folder: CampaignFolder,
    rules: Sequence[str] = (),
    *,
    anew: bool = False,
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> None:
    """Confirm members of the front, or go on with it: nothing is trained twice.

    More seeds and more members are added to what is there.

    Args:
        plan: The campaign's plan; its ``campaign.confirmation`` says how.
        folder: The campaign's folder.
        rules: Whom: ``front``, ``knee``, ``best:OBJECTIVE`` or ids; if not given, those that the
            confirmation was begun with, or else the front.
        anew: Whether to throw away what is there first.
        observer: Is called with every event.
        stop: The wish to stop.

    Raises:
        DataUnavailableError: The images are not there.
        SpecError: An attack cannot be run on the dataset.
        EvaluatorLostError: Ray is gone.
        StorageError: The disk is full, or gone.
        Stopped: Somebody wished it.
        CampaignError: Another process runs the campaign, the front is empty, or what is there was begun with
            other settings.
    """
    folder.check_writable()
    check(plan)
    images = prepare(plan)
    with storing(folder), folder.lock(), EventLog(folder.events) as log:
        if anew:
            shutil.rmtree(folder.confirmed, ignore_errors=True)
        begun = read_plan(folder)
        candidates = _chosen(folder, rules or (list(begun["members"]) if begun else ["front"]))
        _begin(plan, folder, [candidate.id for candidate in candidates], log)
        # Seed by seed: what is interrupted knows something of every member.
        numbers = range(1, plan.campaign.confirmation.seeds + 1)
        jobs = [Job(candidate, number) for number in numbers for candidate in candidates]
        missing = [job for job in jobs if not _is_done(folder, job)]
        try:
            if missing:
                work = dataclasses.replace(plan.work, test_evaluation=plan.test_evaluation, images=images)
                _work(plan, work, folder, log, missing, len(jobs) - len(missing), observer, stop or Stop())
        finally:
            campaign = Campaign(folder.root)
            write_tables(folder, campaign.evaluations, campaign.header)


def check(plan: Plan) -> None:
    """Check before any work that the suite can be run on the campaign's datasets.

    Raises:
        SpecError: An attack cannot.
    """
    for attacks in suites(plan.campaign).values():
        for dataset in plan.datasets:
            check_attacks(attacks, dataset.tasks[0], dataset.shape)


def _work(
    plan: Plan,
    work: Work,
    folder: CampaignFolder,
    log: EventLog,
    jobs: Sequence[Job],
    known: int,
    observer: Observer,
    stop: Stop,
) -> None:
    with (
        following(plan, folder, log, observer) as observe,
        plan.campaign.evaluator.open(work, plan.campaign.resources) as pool,
    ):
        observe(ConfirmationStarted(plan.header, len(jobs) + known, known, pool.workers))
        deaths = deaths_in(folder.events)
        conductor = Conductor(pool, plan.campaign.limits, observe, stop, folder.checkpoint, deaths)
        for job in jobs:
            conductor.submit(job)
        for outcome in conductor.outcomes():
            _store(folder, outcome)
            observe(Confirmed(outcome))


def _is_done(folder: CampaignFolder, job: Job) -> bool:
    """Whether a training ended before, and what it left is whole."""
    path = folder.retraining(job.candidate.id, job.number)
    found = Retraining.read(path)
    return found is not None and (bool(found.error) or is_whole_safetensors(path.with_suffix(".safetensors")))


def _store(folder: CampaignFolder, outcome: Outcome) -> None:
    """Write weights, then what is known of them."""
    evaluation = outcome.evaluation
    path = folder.retraining(evaluation.candidate.id, outcome.number)
    if "weights" in outcome.checkpoints:
        write_atomically(path.with_suffix(".safetensors"), outcome.checkpoints["weights"])
    stored = {
        "candidate": evaluation.candidate.id,
        "number": outcome.number,
        "status": evaluation.status,
        "objectives": evaluation.objectives,
        "judgment": {} if outcome.judgment is None else outcome.judgment.to_tree(),
        "seconds": evaluation.seconds,
        "provenance": evaluation.provenance,
        "history": outcome.history,
        "error": evaluation.error,
    }
    write_atomically(path, json.dumps(stored, indent=2) + "\n")


def _chosen(folder: CampaignFolder, rules: Sequence[str]) -> list[Candidate]:
    campaign = Campaign(folder.root)
    chosen: dict[str, Candidate] = {}
    for rule in rules:
        for evaluation in campaign.front if rule == "front" else [campaign.evaluation(rule)]:
            candidate = evaluation.candidate
            if evaluation.status == "failed":
                raise CampaignError(f"candidate {candidate.id} failed: {evaluation.reason}")
            chosen[candidate.id] = candidate
    if not chosen:
        raise CampaignError(f"{folder.root}: the front is empty: there is nothing to confirm.")
    return list(chosen.values())


def _begin(plan: Plan, folder: CampaignFolder, ids: Sequence[str], log: EventLog) -> None:
    """Store what is planned, where it can be added to what is there.

    Raises:
        CampaignError: What is there was begun with other settings.
    """
    spec = plan.campaign.confirmation
    attacks = {
        f"{threat.norm} {threat.eps:g}": {name: attack_tree(attack) for name, attack in suite.items()}
        for threat, suite in suites(plan.campaign).items()
    }
    settings = {"attacks": attacks, "images": spec.images, "surrogate": spec.surrogate}
    members = dict.fromkeys(ids, spec.seeds)
    old = read_plan(folder)
    if old is not None:
        change = first_difference(old["settings"], settings)
        if change:
            raise CampaignError(
                f"{folder.confirmed}: this confirmation was begun with other settings: {change}. Go on "
                f"with it by `moosearch confirm {folder.root}` without options, or throw it away by --anew."
            )
        for identity, seeds in old["members"].items():
            members[identity] = max(seeds, members.get(identity, 0))
    stored = {"spec": to_tree(spec, ConfirmationSpec), "settings": settings, "members": members}
    log.append("confirmation_planned", durable=True, plan=stored)
    write_atomically(folder.confirmation, json.dumps(stored, indent=2) + "\n")
