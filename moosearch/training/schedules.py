"""Numbers of a candidate that change from epoch to epoch, by the path under which they stand in its spec."""

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

import pydantic
from torch import nn

from moosearch.errors import Place, SpecError, nearest
from moosearch.losses import LOSSES, Criterion
from moosearch.models.defenses import DefenseLayer
from moosearch.registry import Number, field_hints, item_hint, registry_of, validate_leaf
from moosearch.seeding import seeded_torch

T = TypeVar("T")
ROOTS = ("training.attack", "training.loss", "training.regularization", "defenses")
"""Where parameters stand that can be scheduled."""
EPS, STEP = "training.attack.eps", "training.attack.step"


class Scheduled(Protocol):
    """What schedules see of a candidate: a frozen dataclass such as `moosearch.training.CandidateSpec`."""

    @property
    def dataset(self) -> Any: ...  # noqa: D102
    @property
    def training(self) -> Any: ...  # noqa: D102
    @property
    def defenses(self) -> Any: ...  # noqa: D102


S = TypeVar("S", bound=Scheduled)


@dataclass(frozen=True)
class Schedule:
    """How a number gets to the value that stands in the spec.

    Time is 0 in the first epoch and 1 in the last one. Integers are rounded. A training of one epoch has the
    spec's value.

    Attributes:
        parameter: Path of the number within the candidate: any of ``training.attack`` (``eps``),
            ``training.loss`` (``base.beta``), ``training.regularization``, ``defenses.input.<n>`` and
            ``defenses.denoise``. What builds layers (a width) cannot change.
        start: The value in the first epoch.
        values: In place of it, the values of equal shares of the epochs, one after the other; the last share
            has the spec's own: ``[8, 5]`` before ``bits: 3`` is thirds of 8, 5 and 3.
        shape: The way from `start`: ``linear``, half a ``cosine``, ``exponential`` (by a constant factor), or
            one ``step``.
        after: Time until which the first value stays.
        until: Time from which the spec's value stands: 1 if not given, and for steps what makes all shares
            equal.
        optional: Whether a candidate may be without the parameter, because another loss or defense was chosen
            for it; the schedule then does nothing.
    """

    parameter: str
    start: Number | None = None
    values: tuple[Number, ...] = ()
    shape: Literal["linear", "cosine", "exponential", "step"] = "linear"
    after: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.0
    until: Annotated[Number, pydantic.Field(gt=0, le=1)] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        if (self.start is None) == (not self.values):
            raise SpecError(
                f"start: got {self.start} with values {list(self.values)}, expected one of start and values."
            )
        if self.values and self.shape not in ("linear", "step"):
            raise SpecError(f"shape: got {self.shape} with values, which come in steps: leave it out.")
        if self.until is not None and self.until <= self.after:
            raise SpecError(f"until: got {self.until}, expected more than after ({self.after}).")

    def at(self, time: float, final: float) -> float:
        """Return the value at a time in [0, 1].

        Args:
            time: 0 in the first epoch, 1 in the last.
            final: The value in the spec.

        Raises:
            SpecError: There is no exponential way from the start to it.
        """
        steps = (self.start,) if self.start is not None and self.shape == "step" else self.values
        last = 1.0 if not steps else self.after + (1 - self.after) * len(steps) / (len(steps) + 1)
        until = last if self.until is None else self.until
        done = min(max((time - self.after) / (until - self.after), 0.0), 1.0)
        if done > 1 - 1e-9:  # shares such as 2 / 3 are not exact
            return final
        if steps:
            return steps[int(done * len(steps) + 1e-9)]
        assert self.start is not None
        if self.shape == "exponential":
            if self.start * final <= 0:
                raise SpecError(
                    f"start: got {self.start:g}, expected the sign of {final:g}, the value in the spec: no "
                    "factor leads from one to the other."
                )
            return self.start * math.pow(final / self.start, done)
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (final - self.start) * done


def numbers_at(spec: Scheduled, epoch: int) -> dict[str, float]:
    """Return the scheduled numbers of an epoch, from 1, by path.

    The attack's step keeps its ratio to a scheduled eps, unless it has a schedule of its own: as many steps
    reach as far in a small ball as in a large one. Where one of both eps is 0 the step is the spec's.

    Raises:
        SpecError: A number cannot be scheduled, or so.
    """
    if not spec.training.schedules:
        return {}
    return _numbers_at(spec, epoch, {number.path: number for number in _numbers(spec, type(spec), ())})


def _numbers_at(spec: Scheduled, epoch: int, known: Mapping[str, "_Number"]) -> dict[str, float]:
    schedules, numbers = spec.training.schedules, dict[str, float]()
    time = (epoch - 1) / (spec.training.epochs - 1) if spec.training.epochs > 1 else 1.0
    for index, schedule in enumerate(schedules):
        number = known.get(schedule.parameter)
        if number is not None:
            try:
                value = schedule.at(time, number.value)
            except SpecError as error:
                raise SpecError(f"training.schedules.{index}.{error}") from None
            numbers[number.path] = round(value) if isinstance(number.value, int) else float(value)
    if EPS in numbers and STEP in known and STEP not in numbers:
        eps, step = known[EPS].value, known[STEP].value
        numbers[STEP] = step * (numbers[EPS] / eps) if eps > 0 and numbers[EPS] > 0 else step
    return numbers


def at_epoch(spec: S, epoch: int) -> S:
    """Return a candidate as an epoch, from 1, sees it: with the epoch's numbers and without schedules.

    Raises:
        SpecError: A number is out of its range, or contradicts another one.
    """
    if not spec.training.schedules:
        return spec
    return _with_numbers(spec, numbers_at(spec, epoch))


def _with_numbers(spec: S, numbers: Mapping[str, float]) -> S:
    candidate: Any = spec
    plain: S = replace(candidate, training=replace(spec.training, schedules=()))
    return _with(plain, {tuple(path.split(".")): value for path, value in numbers.items()}, Place())


def check_schedules(spec: Scheduled) -> None:
    """Check that every schedule has a parameter that can change, and values that it can have in every epoch.

    Raises:
        SpecError: One has not; the message names its path, and the nearest one.
    """
    schedules = spec.training.schedules
    if not schedules:
        return
    known = {number.path: number for number in _numbers(spec, type(spec), ())}
    free = _free(spec, known)
    for index, schedule in enumerate(schedules):
        path, place = schedule.parameter, f"training.schedules.{index}.parameter"
        if any(path == other.parameter for other in schedules[:index]):
            raise SpecError(f"{place}: got '{path}' a second time, expected one schedule a parameter.")
        if path in free:
            continue
        here = path.startswith(tuple(f"{root}." for root in ROOTS))
        if path in known:
            raise SpecError(f"{place}: got '{path}', which no schedule can change. {nearest(path, free)}")
        if here and _possible(type(spec), spec, path.split(".")):
            if schedule.optional:
                continue
            raise SpecError(
                f"{place}: got '{path}', but no number stands there: another plug-in was chosen. With "
                f"`optional: true` the schedule does nothing then. {nearest(path, free)}"
            )
        raise SpecError(f"{place}: got '{path}', but no number stands there. {nearest(path, free)}")
    if any(schedule.parameter.startswith("training.loss.") for schedule in schedules):
        with seeded_torch(0):
            criteria = spec.training.loss.criterion(8).modules()
        if any(isinstance(c, Criterion) and type(c).follow is Criterion.follow for c in criteria):
            raise SpecError(
                f"training.schedules: the loss '{LOSSES.name_of(spec.training.loss)}' cannot change while a "
                "network is trained: its criterion has no method `follow`."
            )
    before: dict[str, float] = {}
    for epoch in range(1, spec.training.epochs + 1):
        numbers = _numbers_at(spec, epoch, known)
        if numbers != before:
            try:
                _with_numbers(spec, numbers)
            except SpecError as error:
                raise SpecError(f"training.schedules: in epoch {epoch}: {error}") from None
        before = numbers


class _Number(NamedTuple):
    path: str
    value: float
    fixed: bool


def _numbers(node: Any, hint: Any, path: tuple[str, ...], *, fixed: bool = False) -> Iterator[_Number]:
    """Iterate over the numbers of a spec."""
    item = item_hint(hint)
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield _Number(".".join(path), node, fixed)
    elif item is not None:
        for index, element in enumerate(node):
            yield from _numbers(element, item, (*path, str(index)))
    elif is_dataclass(node):
        cls: Any = type(node)
        unchanging = cls.fixed if registry_of(hint) is LOSSES else ()
        for name, sub in field_hints(cls).items():
            yield from _numbers(getattr(node, name), sub, (*path, name), fixed=name in unchanging)


def _free(spec: Scheduled, known: Mapping[str, _Number]) -> set[str]:
    """Return the paths of the numbers that can change while a network is trained."""
    layers = _layers(spec)
    held = {f"{path}.{name}" for path, layer in layers for name, _ in layer.named_buffers(recurse=False)}
    roots = tuple(f"{root}." for root in ROOTS if root != "defenses")
    return {
        path
        for path, number in known.items()
        if path in held or (path.startswith(roots) and not number.fixed)
    }


def _layers(spec: Scheduled) -> Iterator[tuple[str, nn.Module]]:
    """Build the layers that `DefenseSpec.follow` gives numbers, each with the path of its plug-in."""
    with seeded_torch(0):
        guards = [plugin.layer(spec.dataset.shape) for plugin in spec.defenses.input]
        block = spec.defenses.denoise.block(8)
    for number, guard in enumerate(guards):
        if guard is not None:
            yield f"defenses.input.{number}", guard
    for layer in () if block is None else block.modules():
        if isinstance(layer, DefenseLayer):
            yield "defenses.denoise", layer


def _possible(hint: Any, node: Any, keys: list[str]) -> bool:
    """Whether a number could stand at a path, had other plug-ins been chosen."""
    if not keys:
        kinds = (hint, *typing.get_args(hint))
        return any(getattr(kind, "__origin__", kind) in (int, float) for kind in kinds)
    key, *rest = keys
    item, registry = item_hint(hint), registry_of(hint)
    if item is not None:
        here = node is None or (key.isdigit() and int(key) < len(node))
        return here and _possible(item, None if node is None else node[int(key)], rest)
    classes: list[type] = [hint] if isinstance(hint, type) and is_dataclass(hint) else []
    if registry is not None:
        classes = [registry.get(name) for name in registry]
    return any(
        _possible(field_hints(cls)[key], getattr(node, key, None), rest)
        for cls in classes
        if key in field_hints(cls)
    )


def _with(node: T, values: Mapping[tuple[str, ...], float], place: Place) -> T:
    """Return a spec with other numbers, those of a dataclass all at once."""
    groups: dict[str, dict[tuple[str, ...], float]] = {}
    for (key, *rest), value in values.items():
        groups.setdefault(key, {})[tuple(rest)] = value
    changed: dict[str, Any] = {}
    for key, group in groups.items():
        here = place.child(key)
        if isinstance(node, tuple):
            changed[key] = _with(node[int(key)], group, here)
        elif () in group:
            cls: type = node.__class__
            changed[key] = validate_leaf(group[()], field_hints(cls)[key], here)
        else:
            changed[key] = _with(getattr(node, key), group, here)
    if isinstance(node, tuple):
        return type(node)(changed.get(str(index), element) for index, element in enumerate(node))
    try:
        return replace(node, **changed)  # type: ignore[type-var]
    except ValueError as error:
        raise place.error(str(error)) from None
