"""Launch: search, go on, train one recipe, repeat a search, confirm a front."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moosearch.api.campaign import Campaign
from moosearch.campaign.confirmation import read_plan
from moosearch.campaign.difference import difference
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.observer import Observer, WarmStarted, ignore
from moosearch.campaign.order import Order
from moosearch.errors import CampaignError, Place
from moosearch.plan.plan import Plan, plan
from moosearch.plan.reading import Reading, read
from moosearch.plan.single import single
from moosearch.run import confirm as confirming
from moosearch.run.recovery import repair_log, restore_files
from moosearch.run.run import run
from moosearch.run.stop import Stop
from moosearch.run.warm_start import warm_start as translate
from moosearch.space.files import Document, load, override
from moosearch.space.shipped import load_space


def search(
    space: Path | str | Mapping[str, Any],
    *,
    out: Path | str | None = None,
    overrides: Sequence[str] = (),
    warm_start: Path | str | Sequence[Path | str] = (),
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> Campaign:
    """Launch a campaign, or go on with it where the folder holds the same one.

    Args:
        space: A search space file, the name of a shipped one such as ``"digits"``, or plain data.
        out: The campaign's folder; ``results/<name>`` by default.
        overrides: Assignments such as ``campaign.budget.population=8``.
        warm_start: Folder of another campaign, or several, whose fronts are the first individuals, after the
            file's own ones: their genomes, not their weights. See `moosearch.run.warm_start`.
        observer: Is called with every event, see `moosearch.campaign.observer.Event`.
        stop: A `moosearch.run.stop.Stop`: the wish to stop.

    Returns:
        The finished campaign.

    Raises:
        SpecError: The search space is wrong.
        CampaignError: The folder holds another campaign, or one that is running.
    """
    document = Document(dict(space), Place()) if isinstance(space, Mapping) else load_space(space)
    document = override(document, overrides)
    reading = read(document)
    sources = [warm_start] if isinstance(warm_start, str | Path) else warm_start
    if sources:
        reading = _warmed(reading, sources, observer)
    folder = CampaignFolder(out or Path("results") / reading.campaign.name)
    repair_log(folder, observer)
    restore_files(folder, observer)
    if folder.spec.exists():
        old = read(load(folder.spec))
        reading = reading.with_reference_of(old)  # a latency's was measured, and would not come out the same
        change = difference(old.identity(), reading.identity())
        if change:
            longer = " (and --generations N, if that is all)" if "budget.generations" in change else ""
            raise CampaignError(
                f"{folder.root}: holds another campaign: {change}. Give this one a folder with --out, "
                f"or go on with that one by `moosearch resume {folder.root}`{longer}."
            )
    return _run(plan(reading), folder, observer, stop)


def train(
    space: Path | str | Mapping[str, Any],
    *,
    assignments: Sequence[str] = (),
    out: Path | str | None = None,
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> Campaign:
    """Train one recipe of a search space outside a search: a campaign of a single candidate, in this process.

    Args:
        space: A search space file, the name of a shipped one such as ``"digits"``, or plain data.
        assignments: ``GENE=VALUE``; see `moosearch.plan.single.single`.
        out: The folder; ``results/<name>-<id>`` by default.
        observer: Is called with every event, see `moosearch.campaign.observer.Event`.
        stop: A `moosearch.run.stop.Stop`: the wish to stop.

    Returns:
        The campaign with its one candidate, whose weights are kept.

    Raises:
        SpecError: The search space or a value is wrong.
    """
    document = Document(dict(space), Place()) if isinstance(space, Mapping) else load_space(space)
    return search(single(document, assignments).data, out=out, observer=observer, stop=stop)


def resume(
    folder: Path | str,
    *,
    generations: int | None = None,
    overrides: Sequence[str] = (),
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> Campaign:
    """Go on with a campaign that was interrupted, or is to be longer; nothing is evaluated twice.

    A campaign of N generations that is extended to M is the one that was started with M: the same candidates,
    in the same order, with the same results. (A steady-state search with several workers depends on the order
    in which candidates end, and its workers ran idle at the old end.)

    Args:
        folder: The campaign's folder.
        generations: How many there shall be in all; at least as many as were begun.
        overrides: Assignments to ``campaign.evaluator``, ``campaign.resources``, ``campaign.limits``,
            ``campaign.trackers``, ``campaign.keep`` or ``campaign.budget.generations``; anything else would
            make it another campaign.
        observer: Is called with every event.
        stop: A `moosearch.run.stop.Stop`: the wish to stop.

    Returns:
        The finished campaign.

    Raises:
        CampaignError: There is no campaign in the folder, it is running, or it cannot have so many
            generations.
    """
    files = CampaignFolder(folder)
    repair_log(files, observer)
    restore_files(files, observer)
    if not files.spec.is_file():
        raise CampaignError(
            f"{files.root}: no campaign here, `{files.spec.name}` is missing. "
            "Start one with `moosearch search FILE`."
        )
    document = load(files.spec)
    if generations is not None:
        overrides = [*overrides, f"campaign.budget.generations={generations}"]
    reading = read(override(document, overrides))
    if overrides:
        # The number of generations alone may change: `run` sees to it.
        number = f"campaign.budget.generations={reading.campaign.budget.generations}"
        change = difference(read(override(document, [number])).identity(), reading.identity())
        if change:
            raise CampaignError(f"{files.root}: that would be another campaign: {change}.")
    return _run(plan(reading), files, observer, stop)


def replay(
    folder: Path | str,
    out: Path | str,
    *,
    overrides: Sequence[str] = (),
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> Campaign:
    """Train all candidates of a finished campaign again, in a folder of their own.

    A steady-state search depends on the order in which its candidates were done; here it is told of them in
    the order of then, wherever and however many at a time they are trained now, and asks for the same ones.
    It goes on where it was interrupted, and is not confirmed.

    Args:
        folder: The campaign's folder.
        out: The folder of the new one.
        overrides: Assignments as `resume` takes them.
        observer: Is called with every event.
        stop: A `moosearch.run.stop.Stop`: the wish to stop.

    Returns:
        The new campaign; its front is that of the other one.

    Raises:
        CampaignError: There is no finished campaign in the folder, the new folder holds something else, or
            candidates came out so differently that others would be asked for.
    """
    source, files = Campaign(folder), CampaignFolder(out)
    if not source.finished:
        raise CampaignError(
            f"{source.folder.root}: is not finished, there is no whole search to repeat. "
            f"Finish it with `moosearch resume {source.folder.root}`."
        )
    document = load(source.folder.spec)
    document.data["campaign"]["storage"] = ""  # a database would have two studies of one name
    reading = read(override(document, overrides))
    there = load(files.spec) if files.spec.exists() else document
    change = difference(read(there).identity(), reading.identity())
    if change or files.root.resolve() == source.folder.root.resolve():
        raise CampaignError(f"{files.root}: that would be another campaign: {change or 'this one'}.")
    population = reading.campaign.budget.population
    order = Order.of(source.evaluations, population) if reading.campaign.algorithm.steady else None
    run(plan(reading), files, observer, stop, order)
    return Campaign(out)


def confirm(
    folder: Path | str,
    *,
    rules: Sequence[str] = (),
    overrides: Sequence[str] = (),
    anew: bool = False,
    observer: Observer = ignore,
    stop: Stop | None = None,
) -> Campaign:
    """Train the recipes of a campaign's front again with fresh seeds, and judge them on test images.

    It goes on where it was interrupted; see `moosearch.run.confirm`.

    Args:
        folder: The campaign's folder.
        rules: Whom: ``front``, ``knee``, ``best:OBJECTIVE`` or ids; if not given, those that the
            confirmation was begun with, or else the front.
        overrides: Assignments to ``campaign.confirmation``, ``campaign.evaluator`` or
            ``campaign.resources.gpus``.
        anew: Whether to throw away a confirmation that is there.
        observer: Is called with every event.
        stop: A `moosearch.run.stop.Stop`: the wish to stop.

    Returns:
        The campaign.

    Raises:
        CampaignError: There is no campaign in the folder, it is running, or its confirmation was begun with
            other settings.
        SpecError: A setting is wrong.
    """
    files = CampaignFolder(folder)
    restore_files(files, observer, confirmation=not anew)
    files = CampaignFolder.existing(folder)
    planned = confirming.planned(files, overrides, anew=anew)
    confirming.confirm(planned, files, rules, anew=anew, observer=observer, stop=stop)
    return Campaign(folder)


def _run(planned: Plan, folder: CampaignFolder, observer: Observer, stop: Stop | None) -> Campaign:
    folder.check_writable()
    at_end = planned.campaign.confirmation.at_end
    if at_end:
        confirming.check(planned)
    run(planned, folder, observer, stop)
    campaign = Campaign(folder.root)
    if at_end and campaign.front.members:
        # What was begun is brought to its end too: a campaign that was extended may have another front.
        begun = read_plan(folder)
        rules = ["front", *(begun["members"] if begun else ())]
        confirming.confirm(planned, folder, rules, observer=observer, stop=stop)
    return campaign


def _warmed(reading: Reading, sources: Sequence[Path | str], observer: Observer) -> Reading:
    """Return a reading that begins with the fronts of other campaigns, and tell what was taken over."""
    for number, source in enumerate(sources):
        free = reading.campaign.budget.population - len(reading.campaign.initial)
        share = free // (len(sources) - number)
        if share < 1:
            raise CampaignError(
                f"{source}: no room for a warm start from {len(sources)} "
                f"campaign{'s' if len(sources) > 1 else ''}: campaign.budget.population is "
                f"{reading.campaign.budget.population}, of which recipes take "
                f"{len(reading.campaign.initial)}."
            )
        warm = translate(reading.space, source, share)
        reading = reading.beginning_with([*reading.campaign.initial, *warm.recipes])
        observer(WarmStarted(tuple(warm.lines())))
    return reading
