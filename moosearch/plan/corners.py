"""What the corners of a space cost: the dearest of them tells where the reference point of a cost lies."""

import contextlib
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from torch import nn

from moosearch.data import Dataset
from moosearch.errors import DataUnavailableError, Place, SpecError
from moosearch.evaluation import Genome
from moosearch.evaluators.devices import Kind, use
from moosearch.models import DefenseSpec, RobustNet, count_parameters
from moosearch.models.blank import blank
from moosearch.training import CandidateSpec, Objective, Subject
from moosearch.training.effort import effort_key

NETWORK = "architecture", "defenses"
"""Genes under these decide what a network is built of."""

MARGIN = {"counted": 1.1, "spent": 1.1, "timed": 2.0}
"""How far the reference point lies beyond the dearest corner: at it, a candidate would count for nothing."""


@dataclass(frozen=True)
class Cost:
    """A cost among the objectives.

    Attributes:
        objective: The objective.
        place: Where it stands, for messages.
        known: Whether its reference point is given.
    """

    objective: Objective
    place: Place
    known: bool


SMALL_IMAGE, SMALL_NETWORK = 3 * 16 * 16, 2**20
"""Numbers of an image, and parameters of a network, up to which a forward pass takes next to no time."""


@dataclass(frozen=True)
class Corner:
    """A corner of a space.

    Attributes:
        spec: Its candidate.
        genome: The active genes, for messages.
    """

    spec: CandidateSpec
    genome: Genome

    @cached_property
    def network(self) -> Hashable:
        """What its network depends on."""
        dataset = self.spec.dataset
        sizes = tuple(task.size for task in dataset.tasks)
        return self.spec.architecture, self.spec.defenses, dataset.shape, sizes

    @cached_property
    def training(self) -> Hashable:
        """What the cost of its training depends on."""
        return self.network, self.spec.dataset, effort_key(self.spec)

    def build(self, place: Place, device: str) -> RobustNet:
        """Build the network, without drawing its weights; a refusal names the genes that led to it.

        Args:
            place: Where candidates stand, for messages.
            device: ``cpu``, or ``meta``, where tensors hold no numbers: a network of any size is built and
                counted in no time.
        """
        try:
            with blank(device):
                return self.spec.build_network(seed=0).eval()
        except DataUnavailableError:
            raise
        except Exception as error:  # whatever torch says of sizes that it cannot build
            genes = {p: v for p, v in self.genome.items() if p.startswith(NETWORK)}
            message = str(error) if isinstance(error, SpecError) else f"this cannot be built: {error}"
            undefended = self.spec.defenses == DefenseSpec()
            where = place.child("architecture") if undefended else place
            raise where.error(f"{message}{at(genes)}") from None

    def subject(self, net: RobustNet, images: int | None = None, *, rough: bool = False) -> Subject:
        """Return what costs are measured of."""
        spec = self.spec
        return Subject(net, None, spec.dataset.tasks, spec.dataset.shape, 0, spec, images, rough=rough)


def _built(corner: Corner, place: Place) -> RobustNet:
    """Build a network to be counted: with numbers where it is small, which is the faster way.

    torch computes shapes on ``meta`` by rules in Python, and imports its compiler for that.
    """
    net = corner.build(place, "meta")
    small = math.prod(corner.spec.dataset.shape) <= SMALL_IMAGE and count_parameters(net) <= SMALL_NETWORK
    return corner.build(place, "cpu") if small else net


class Corners:
    """The corners of a space, of which every network was built."""

    def __init__(self, corners: Sequence[Corner], place: Place, *, gpu: bool) -> None:
        """Build the networks.

        Args:
            corners: The corners.
            place: Where candidates stand, for messages.
            gpu: Whether candidates are trained on a GPU where there is one.

        Raises:
            SpecError: A network cannot be built.
        """
        self._corners, self._place = corners, place
        self._kind: Kind = "auto" if gpu else "cpu"
        self._networks = _first(corners, lambda corner: corner.network)
        self._nets = {corner.network: _built(corner, place) for corner in self._networks}

    def __len__(self) -> int:
        """Return the number of corners."""
        return len(self._corners)

    @property
    def trainings(self) -> tuple[CandidateSpec, ...]:
        """Candidates at corners whose trainings differ in cost."""
        return tuple(corner.spec for corner in _first(self._corners, lambda corner: corner.training))

    @property
    def weights(self) -> int:
        """Bytes of the weights of the largest network."""
        sizes = [
            sum(int(each.numel()) * int(each.element_size()) for each in net.state_dict().values())
            for net in self._nets.values()
        ]
        return max(sizes)

    def references(self, costs: Mapping[str, Cost]) -> dict[str, float]:
        """Return where the reference points lie that are not given, by key.

        What takes long is done roughly for every corner that may be the dearest, and well for the dearest.
        A time whose reference point is given is taken once: it must be possible.

        Raises:
            SpecError: A cost cannot be measured here.
            DataUnavailableError: It depends on images that are not there.
        """
        found = {}
        for key, cost in costs.items():
            objective = cost.objective
            with _blamed(cost.place):
                if not cost.known:
                    found[key] = MARGIN[objective.kind] * self._dearest(objective)
                elif objective.kind == "timed":
                    self._timed(objective, self._networks[0], rough=True)
        return found

    def check(self, condition: Callable[[nn.Sequential], None], place: Place) -> None:
        """Check all networks; a refusal names the genes that led to one.

        Args:
            condition: Raises a `SpecError` for deployed networks that do not meet it.
            place: Where the condition stands, for messages.

        Raises:
            SpecError: A network does not meet it.
        """
        for corner in self._networks:
            try:
                condition(self._nets[corner.network].deployed())
            except SpecError as error:
                genes = {p: v for p, v in corner.genome.items() if p.startswith(NETWORK)}
                raise place.error(f"{error}{at(genes)}") from None

    def _dearest(self, objective: Objective) -> float:
        if objective.kind == "counted":
            return max(objective.measure(c.subject(self._nets[c.network])) for c in self._networks)
        if objective.kind == "timed":
            measure, corners = partial(self._timed, objective), self._slow()
        else:
            images = {each: _training_images(each) for each in {c.spec.dataset for c in self._corners}}
            measure = partial(self._spent, objective, images)
            corners = _first(self._corners, lambda corner: corner.training)
        dearest = max(corners, key=partial(measure, rough=True)) if corners[1:] else corners[0]
        return measure(dearest, rough=False)

    def _slow(self) -> list[Corner]:
        """Return, of networks of the same kinds of layers, the one with the most weights.

        Nor is one returned where another has more kinds of layers, and as many weights. What is left out may
        take longer, but not by so much that `MARGIN` would not hold it.
        """
        found: dict[tuple[Hashable, frozenset[type]], tuple[int, Corner]] = {}
        for corner in self._networks:
            net = self._nets[corner.network]
            kind = corner.spec.dataset.shape, frozenset(map(type, net.modules()))
            weights = count_parameters(net)
            if kind not in found or weights > found[kind][0]:
                found[kind] = weights, corner
        return [
            corner
            for (shape, layers), (weights, corner) in found.items()
            if not any(
                shape == other and layers < more and weights <= heavier
                for (other, more), (heavier, _) in found.items()
            )
        ]

    def _timed(self, objective: Objective, corner: Corner, *, rough: bool) -> float:
        net = corner.build(self._place, "cpu").to(use(self._kind))
        return objective.measure(corner.subject(net, rough=rough))

    def _spent(
        self, objective: Objective, images: Mapping[Dataset, int], corner: Corner, *, rough: bool
    ) -> float:
        net = self._nets[corner.network]
        return objective.measure(corner.subject(net, images[corner.spec.dataset], rough=rough))


def at(genome: Genome) -> str:
    """Return the genes that lead to what a message is about."""
    values = ", ".join(f"{path}={value}" for path, value in genome.items())
    return f" (at {values})" if values else ""


def _first(corners: Sequence[Corner], key: Callable[[Corner], Hashable]) -> list[Corner]:
    """Return the first corner of every key."""
    found: dict[Hashable, Corner] = {}
    for corner in corners:
        found.setdefault(key(corner), corner)
    return list(found.values())


def _training_images(dataset: Dataset) -> int:
    """Return the number of training images; where the dataset does not say, its files are read."""
    return dataset.train_size or len(dataset.load().train)


@contextlib.contextmanager
def _blamed(place: Place) -> Iterator[None]:
    """Say where the objective stands that cannot be measured."""
    try:
        yield
    except SpecError as error:
        raise place.error(str(error)) from None
