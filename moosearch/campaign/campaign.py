"""A campaign as a user holds it: launch, inspect, export."""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign.confirmed import Confirmation, read_plan
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.header import Header
from moosearch.campaign.record import Record
from moosearch.campaign.tables import History
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation
from moosearch.pareto import Front, non_dominated, to_losses
from moosearch.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Campaign:
    """A campaign folder: what was evaluated, the front, and the models of its members.

    Reading one needs neither torch nor Ray.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open a campaign folder for reading.

        Raises:
            CampaignError: There is no campaign in it.
        """
        self.folder = CampaignFolder.existing(folder)
        self._record = _read(self.folder)
        self._front: tuple[int, Front] | None = None
        header = self._record.header
        assert header is not None
        self._history = History(header)

    def __repr__(self) -> str:
        """Write the folder."""
        return f"Campaign({str(self.folder.root)!r})"

    @property
    def header(self) -> Header:
        """Name, objectives, constraints, algorithm, budget and seed."""
        header = self.record.header
        assert header is not None
        return header

    @property
    def record(self) -> Record:
        """What its log says by now: only what came since it was read last is read."""
        record = self._record
        if record.is_followed:
            before = record.beginnings
            record.refresh()
            if record.header is None:
                raise self.folder.damaged(self.folder.events, "it does not say what the campaign is")
            if record.beginnings != before:
                self._front, self._history = None, History(record.header)
        return record

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row a generation, see `moosearch.campaign.tables.hypervolumes`."""
        return self._history.of(self.record.in_order())

    @property
    def evaluations(self) -> list[Evaluation]:
        """Everything evaluated so far, in the order asked for."""
        return self.record.evaluations()

    @property
    def current(self) -> tuple[int, list[str]]:
        """The generation being worked on, from 1, and the ids of its candidates."""
        return self.record.current

    @property
    def finished(self) -> bool:
        """Whether the campaign came to its end."""
        return self.record.finished

    @property
    def front(self) -> Front:
        """The non-dominated, feasible evaluations."""
        record, objectives = self.record, self.header.objectives
        if self._front is None or self._front[0] != len(record.entries):
            feasible = [entry for entry in record.in_order() if entry.feasible]
            kept = non_dominated(to_losses(feasible, objectives))
            ids = {entry.id for entry, keep in zip(feasible, kept, strict=True) if keep}
            self._front = len(record.entries), Front.of(record.evaluations(ids), objectives)
        return self._front[1]

    @property
    def confirmation(self) -> Confirmation | None:
        """What a confirmation found so far; None where there is none."""
        plan = read_plan(self.folder)
        if plan is None:
            return None
        members = self.record.evaluations(plan["members"].keys())
        return Confirmation.read(self.folder, members, self.header.objectives)

    def evaluation(self, rule: str, where: str | None = None) -> Evaluation:
        """Return a front member by a rule of `Front.choose`, or any candidate by id.

        Args:
            rule: ``knee``, ``best:OBJECTIVE``, ``asf:OBJECTIVE=WEIGHT,...`` and so on, or a candidate's id.
            where: Bounds that the member must keep, as `Front.where` takes them.

        Raises:
            SpecError: Nothing fits.
        """
        if where is not None:
            return self.front.where(where).pick(rule)
        evaluations = self.evaluations
        if rule == "knee" and len(evaluations) == 1:  # a recipe trained alone, which may miss a constraint
            return evaluations[0]
        matches = [e for e in evaluations if rule and e.candidate.id.startswith(rule)]
        return matches[0] if len(matches) == 1 else self.front.pick(rule)

    def plot(self, folder: Path | str | None = None) -> list[Path]:
        """Draw the front and the hypervolume; return the PNG files (PDFs stand beside them)."""
        from moosearch.campaign import plots

        target = Path(folder or self.folder.plots)
        return plots.save(target, self.evaluations, self.header, self.confirmation)

    def plot_front(self, ax: "Axes | None" = None, *, x: str = "", y: str = "") -> "Axes":
        """Draw the front in two objectives on an axis of matplotlib.

        Args:
            ax: The axis; pyplot's current one if not given.
            x: The objective across; if not given, the first cost, or else the first objective.
            y: The objective upwards; if not given, the first other one.

        Returns:
            The axis.

        Raises:
            SpecError: No objective is called so, there is but one, or the front is empty.
        """
        from moosearch.campaign import figures, plots

        axes = figures.given_or_current(ax)
        plots.front_on(axes, self.evaluations, self.header.objectives, self.confirmation, x=x, y=y)
        return axes

    def plot_hypervolume(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the hypervolume after every generation on an axis of matplotlib.

        Args:
            ax: The axis; pyplot's current one if not given.

        Returns:
            The axis.
        """
        from moosearch.campaign import figures, plots

        axes = figures.given_or_current(ax)
        plots.hypervolume_on(axes, self.evaluations, self.header)
        return axes

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas frame: a row a candidate, with status, objectives, genes and seconds."""
        from moosearch.campaign.tables import candidates_table

        return candidates_table(self.evaluations)

    def _repr_html_(self) -> str:
        header, evaluations = self.header, self.evaluations
        failed = sum(e.status == "failed" for e in evaluations)
        facts = [
            counted(len(evaluations), "candidate"),
            *([f"{failed} failed"] if failed else []),
            f"{header.algorithm}, population {header.population}, seed {header.seed}",
            "finished" if self.finished else "not finished",
        ]
        told = html.escape(", ".join(facts))
        return f"<p><b>{html.escape(header.name)}</b>: {told}</p>{self.front._repr_html_()}"

    def report(self, to: Path | str | None = None, *, refresh: float = 0) -> Path:
        """Write the campaign as one HTML file, which needs no network.

        Args:
            to: The file; ``report.html`` in the campaign's folder by default.
            refresh: Seconds after which an open page loads itself again while the campaign runs; 0 for never.

        Returns:
            The file.
        """
        from moosearch.report.campaign_page import campaign_page

        target = Path(to or self.folder.report)
        write_atomically(target, campaign_page(self, refresh=refresh))
        return target

    def export(
        self,
        rule: str = "knee",
        to: Path | str | None = None,
        *,
        where: str | None = None,
        quantize: str | None = None,
        latency: bool = True,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Path:
        """Export a candidate; see `moosearch.export.write.export_model`.

        Args:
            rule: A rule of `Front.choose`, or a candidate's id.
            to: The folder to write; ``exports/<id>`` in the campaign's folder by default.
            where: Bounds that the candidate must keep, as `Front.where` takes them.
            quantize: ``int8`` for a quantized ONNX file besides, with accuracies of its own.
            latency: Whether to measure how long the programs take.
            progress: Is told how far attacks on the quantized network are.

        Returns:
            The folder.
        """
        from moosearch.export.write import export_model

        evaluation = self.evaluation(rule, where)
        if evaluation.status == "failed":
            raise CampaignError(f"candidate {evaluation.candidate.id} failed: {evaluation.reason}")
        target = Path(to) if to else self.folder.exports / evaluation.candidate.id
        return export_model(
            self.folder,
            self.header,
            evaluation,
            target,
            quantize=quantize,
            latency=latency,
            progress=progress,
        )


def _read(folder: CampaignFolder) -> Record:
    """Read a campaign's log, or the study of one whose log does not say everything: an older version's.

    Raises:
        CampaignError: There is neither, or it is damaged.
    """
    record = Record.of(folder.events)
    if record.header is not None:
        return record
    from moosearch.campaign import study  # Optuna takes a second to import

    found = study.read(folder)
    if found.format >= study.FORMAT:
        raise folder.damaged(folder.events, "it does not say what the campaign is")
    return Record.of_study(folder.events, found)


def search(
    space: Path | str | Mapping[str, Any],
    *,
    out: Path | str | None = None,
    overrides: Sequence[str] = (),
    warm_start: Path | str | Sequence[Path | str] = (),
    observer: Any = None,
    stop: Any = None,
) -> Campaign:
    """Launch a campaign, or go on with it where the folder holds the same one.

    Args:
        space: A search space file, the name of a shipped one such as ``"digits"``, or plain data.
        out: The campaign's folder; ``results/<name>`` by default.
        overrides: Assignments such as ``campaign.budget.population=8``.
        warm_start: Folder of another campaign, or several, whose fronts are the first individuals, after the
            file's own ones: their genomes, not their weights. See `moosearch.campaign.warm_start`.
        observer: A `moosearch.campaign.observer.Observer` that is told what happens.
        stop: A `moosearch.campaign.stop.Stop`: the wish to stop.

    Returns:
        The finished campaign.

    Raises:
        SpecError: The search space is wrong.
        CampaignError: The folder holds another campaign, or one that is running.
    """
    from moosearch.campaign.plan import make_plan
    from moosearch.campaign.recovery import repair_log, restore_files
    from moosearch.errors import Place
    from moosearch.space.files import Document, load, override
    from moosearch.space.shipped import load_space

    document = Document(dict(space), Place()) if isinstance(space, Mapping) else load_space(space)
    document = override(document, overrides)
    plan = make_plan(document)
    sources = [warm_start] if isinstance(warm_start, str | Path) else warm_start
    if sources:
        plan = _warmed(plan, sources, observer)
    folder = CampaignFolder(out or Path("results") / plan.campaign.name)
    repair_log(folder, observer)
    restore_files(folder, observer)
    if folder.spec.exists():
        old = make_plan(load(folder.spec))
        if not document.data["campaign"].get("reference_point"):
            plan = plan.with_reference_of(old)  # a latency's was measured, and would not come out the same
        change = _difference(old, plan)
        if change:
            longer = " (and --generations N, if that is all)" if "budget.generations" in change else ""
            raise CampaignError(
                f"{folder.root}: holds another campaign: {change}. Give this one a folder with --out, "
                f"or go on with that one by `moosearch resume {folder.root}`{longer}."
            )
    return _run(plan, folder, observer, stop)


def train(
    space: Path | str | Mapping[str, Any],
    *,
    assignments: Sequence[str] = (),
    out: Path | str | None = None,
    observer: Any = None,
    stop: Any = None,
) -> Campaign:
    """Train one recipe of a search space outside a search: a campaign of a single candidate, in this process.

    Args:
        space: A search space file, the name of a shipped one such as ``"digits"``, or plain data.
        assignments: ``GENE=VALUE``; see `moosearch.campaign.recipe.single`.
        out: The folder; ``results/<name>-<id>`` by default.
        observer: A `moosearch.campaign.observer.Observer` that is told of every epoch.
        stop: A `moosearch.campaign.stop.Stop`: the wish to stop.

    Returns:
        The campaign with its one candidate, whose weights are kept.

    Raises:
        SpecError: The search space or a value is wrong.
    """
    from moosearch.campaign.recipe import single
    from moosearch.errors import Place
    from moosearch.space.files import Document
    from moosearch.space.shipped import load_space

    document = Document(dict(space), Place()) if isinstance(space, Mapping) else load_space(space)
    return search(single(document, assignments).data, out=out, observer=observer, stop=stop)


def resume(
    folder: Path | str,
    *,
    generations: int | None = None,
    overrides: Sequence[str] = (),
    observer: Any = None,
    stop: Any = None,
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
        observer: Is told what happens.
        stop: A `moosearch.campaign.stop.Stop`: the wish to stop.

    Returns:
        The finished campaign.

    Raises:
        CampaignError: There is no campaign in the folder, it is running, or it cannot have so many
            generations.
    """
    from moosearch.campaign.plan import make_plan
    from moosearch.campaign.recovery import repair_log, restore_files
    from moosearch.space.files import load, override

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
    plan = make_plan(override(document, overrides))
    if overrides:
        # The number of generations alone may change: `run` sees to it.
        number = f"campaign.budget.generations={plan.campaign.budget.generations}"
        change = _difference(make_plan(override(document, [number])), plan)
        if change:
            raise CampaignError(f"{files.root}: that would be another campaign: {change}.")
    return _run(plan, files, observer, stop)


def replay(
    folder: Path | str,
    out: Path | str,
    *,
    overrides: Sequence[str] = (),
    observer: Any = None,
    stop: Any = None,
) -> Campaign:
    """Train all candidates of a finished campaign again, in a folder of their own.

    A steady-state search depends on the order in which its candidates were done; here it is told of them in
    the order of then, wherever and however many at a time they are trained now, and asks for the same ones.
    It goes on where it was interrupted, and is not confirmed.

    Args:
        folder: The campaign's folder.
        out: The folder of the new one.
        overrides: Assignments as `resume` takes them.
        observer: Is told what happens.
        stop: A `moosearch.campaign.stop.Stop`: the wish to stop.

    Returns:
        The new campaign; its front is that of the other one.

    Raises:
        CampaignError: There is no finished campaign in the folder, the new folder holds something else, or
            candidates came out so differently that others would be asked for.
    """
    from moosearch.campaign.order import Order
    from moosearch.campaign.plan import make_plan
    from moosearch.campaign.run import run
    from moosearch.space.files import load, override

    source, files = Campaign(folder), CampaignFolder(out)
    if not source.finished:
        raise CampaignError(
            f"{source.folder.root}: is not finished, there is no whole search to repeat. "
            f"Finish it with `moosearch resume {source.folder.root}`."
        )
    document = load(source.folder.spec)
    document.data["campaign"]["storage"] = ""  # a database would have two studies of one name
    plan = make_plan(override(document, overrides))
    there = load(files.spec) if files.spec.exists() else document
    change = _difference(make_plan(there), plan)
    if change or files.root.resolve() == source.folder.root.resolve():
        raise CampaignError(f"{files.root}: that would be another campaign: {change or 'this one'}.")
    population = plan.campaign.budget.population
    order = Order.of(source.evaluations, population) if plan.campaign.algorithm.steady else None
    run(plan, files, observer, stop, order)
    return Campaign(out)


def confirm(
    folder: Path | str,
    *,
    rules: Sequence[str] = (),
    overrides: Sequence[str] = (),
    anew: bool = False,
    observer: Any = None,
    stop: Any = None,
) -> Campaign:
    """Train the recipes of a campaign's front again with fresh seeds, and judge them on test images.

    It goes on where it was interrupted; see `moosearch.campaign.confirm`.

    Args:
        folder: The campaign's folder.
        rules: Whom: ``front``, ``knee``, ``best:OBJECTIVE`` or ids; if not given, those that the
            confirmation was begun with, or else the front.
        overrides: Assignments to ``campaign.confirmation``, ``campaign.evaluator`` or
            ``campaign.resources.gpus``.
        anew: Whether to throw away a confirmation that is there.
        observer: Is told what happens.
        stop: A `moosearch.campaign.stop.Stop`: the wish to stop.

    Returns:
        The campaign.

    Raises:
        CampaignError: There is no campaign in the folder, it is running, or its confirmation was begun with
            other settings.
        SpecError: A setting is wrong.
    """
    from moosearch.campaign import confirm as confirming
    from moosearch.campaign.recovery import restore_files

    files = CampaignFolder(folder)
    restore_files(files, observer, confirmation=not anew)
    files = CampaignFolder.existing(folder)
    plan = confirming.planned(files, overrides, anew=anew)
    confirming.confirm(plan, files, rules, anew=anew, observer=observer, stop=stop)
    return Campaign(folder)


def _run(plan: Any, folder: CampaignFolder, observer: Any, stop: Any) -> Campaign:
    from moosearch.campaign import confirm as confirming
    from moosearch.campaign.run import run

    folder.check_writable()
    at_end = plan.campaign.confirmation.at_end
    if at_end:
        confirming.check(plan)
    run(plan, folder, observer, stop)
    campaign = Campaign(folder.root)
    if at_end and campaign.front.members:
        # What was begun is brought to its end too: a campaign that was extended may have another front.
        begun = read_plan(folder)
        rules = ["front", *(begun["members"] if begun else ())]
        confirming.confirm(plan, folder, rules, observer=observer, stop=stop)
    return campaign


def _warmed(plan: Any, sources: Sequence[Path | str], observer: Any) -> Any:
    """Return a plan that begins with the fronts of other campaigns, and tell what was taken over."""
    from moosearch.campaign.warm_start import warm_start

    for number, source in enumerate(sources):
        free = plan.campaign.budget.population - len(plan.campaign.initial)
        share = free // (len(sources) - number)
        if share < 1:
            raise CampaignError(
                f"{source}: no room for a warm start from {len(sources)} "
                f"campaign{'s' if len(sources) > 1 else ''}: campaign.budget.population is "
                f"{plan.campaign.budget.population}, of which recipes take {len(plan.campaign.initial)}."
            )
        warm = warm_start(plan.space, source, share)
        plan = plan.beginning_with([*plan.campaign.initial, *warm.recipes])
        if observer is not None:
            observer.warm_started(warm.lines())
    return plan


def _difference(old: Any, new: Any) -> str:
    """Name the first place where two plans are those of different campaigns; passwords are none."""
    from moosearch.campaign.passwords import comparable

    return first_difference(comparable(old.identity()), comparable(new.identity()))


def first_difference(old: Any, new: Any, path: str = "") -> str:
    """Name the first place where two plain trees differ, or return an empty string.

    Example:
        >>> first_difference({"seed": 1}, {"seed": 2})
        'seed is 1 there and 2 here'
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            found = first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            found = first_difference(*pair, f"{path}.{index}")
            if found:
                return found
        return ""
    return "" if old == new else f"{path} is {_brief(old)} there and {_brief(new)} here"


def _brief(value: Any) -> str:
    if value in ("", None):
        return "not given"
    text = f"{len(value)} long" if isinstance(value, list) and len(str(value)) > 100 else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
