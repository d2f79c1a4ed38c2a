"""Where reference points lie: on the dearest corner, measured no more often than is needed."""

from dataclasses import dataclass, field, replace

import pytest

from moosearch.errors import Place, SpecError
from moosearch.models import DefenseSpec
from moosearch.models.defenses.squeezing import MedianFilter
from moosearch.plan.corners import Corner, Corners, Cost
from moosearch.plan.plan import make_plan
from moosearch.registry import build
from moosearch.space.files import Document
from moosearch.training import CandidateSpec
from moosearch.training.costs import Energy, Flops, PeakMemory, TrainingCost
from moosearch.training.effort import training_flops

PLACE = Place(shown=("candidate",))


def corner(width=4, defended=False, **training):
    tree = {
        "defenses": {"input": [{"name": "bit_depth", "bits": 4}] if defended else []},
        "dataset": {"name": "digits", "train_size": 100},
        "architecture": {"name": "small_cnn", "width": width, "depth": 2},
        "training": {"epochs": 2, "batch_size": 32} | training,
    }
    return Corner(build(CandidateSpec, tree), {"architecture.width": width})


def references(objective, corners, known=False):
    cost = Cost(objective, Place(shown=("campaign", "objectives", "0")), known)
    return Corners(corners, PLACE, gpu=False).references({"cost": cost})


@dataclass(frozen=True)
class Timed:
    """Takes as long as there are parameters; roughly, on another scale."""

    seen: list = field(default_factory=list)
    kind = "timed"

    def measure(self, subject):
        size = sum(parameter.numel() for parameter in subject.net.parameters())
        device = next(subject.net.parameters()).device.type
        self.seen.append((size, subject.rough, device))
        return size / 100 if subject.rough else float(size)


CORNERS = [corner(4), corner(16), corner(8), corner(16, loss={"name": "trades"})]


@pytest.mark.parametrize("objective", [Flops(), PeakMemory(batch=3)])
def test_what_is_counted_lies_a_tenth_beyond_the_dearest_network(objective):
    net = CORNERS[1].build(PLACE, "cpu")
    assert references(objective, CORNERS)["cost"] == 1.1 * objective.measure(CORNERS[1].subject(net))


def test_what_is_timed_is_measured_roughly_on_the_largest_of_each_kind_and_well_on_the_dearest():
    timed = Timed()
    found = references(timed, [*CORNERS, corner(4, True), corner(8, True)])["cost"]
    counts = {c: sum(p.numel() for p in corner(c).build(PLACE, "meta").parameters()) for c in (8, 16)}
    assert timed.seen == [
        (counts[16], True, "cpu"),
        (counts[8], True, "cpu"),
        (counts[16], False, "cpu"),
    ]
    assert found == 2 * counts[16]


def test_of_equal_weights_the_first_is_timed():
    """Corners with high numbers come first."""
    filters = [
        Corner(replace(c.spec, defenses=DefenseSpec(input=(MedianFilter(size),))), {})
        for c, size in ((corner(), 3), (corner(), 2))
    ]
    assert Corners(filters, PLACE, gpu=False)._slow() == filters[:1]


def test_a_single_network_is_measured_well_at_once():
    timed = Timed()
    references(timed, [corner(4), corner(4, loss={"name": "trades"})])
    assert [rough for _, rough, _ in timed.seen] == [False]


def test_where_the_reference_is_given_a_time_must_still_be_possible():
    timed = Timed()
    assert references(timed, CORNERS, known=True) == {}
    assert len(timed.seen) == 1
    with pytest.raises(SpecError, match=r"^campaign\.objectives\.0: energy is that of an NVIDIA GPU"):
        references(Energy(), CORNERS, known=True)


def test_what_is_spent_depends_on_network_and_training():
    dear = corner(16, loss={"name": "trades"}, attack={"name": "pgd", "steps": 12})
    corners = [*CORNERS, dear, corner(4, attack={"name": "pgd", "steps": 5})]
    assert references(TrainingCost(), corners)["cost"] == 1.1 * training_flops(dear.spec, 100)
    assert references(TrainingCost(), CORNERS)["cost"] == 1.1 * training_flops(CORNERS[3].spec, 100)


def test_trainings_that_differ_in_real_numbers_alone_are_counted_once():
    alike = [corner(4, optimizer={"lr": lr}) for lr in (0.1, 0.2)]
    assert alike[0].training == alike[1].training
    assert corner(4, epochs=3).training != alike[0].training
    weights = [corner(4, regularization={"jacobian": weight}).training for weight in (0.0, 0.1, 0.2)]
    assert len(set(weights)) == 2


def test_a_network_that_cannot_be_built_names_its_genes():
    small = corner(4)
    tree = {"dataset": "digits", "architecture": {"name": "small_cnn", "width": 4, "depth": 9}}
    with pytest.raises(SpecError, match=r"candidate\.architecture: .*\(at architecture\.width=4\)"):
        Corners([small, Corner(build(CandidateSpec, tree), small.genome)], PLACE, gpu=False)


def test_what_only_a_constraint_asks_must_be_possible_too(tiny):
    data = tiny()
    data["campaign"] |= {"constraints": ["energy <= 1"], "resources": {"gpus": 0}}
    with pytest.raises(SpecError, match=r"campaign\.constraints: energy is that of an NVIDIA GPU"):
        make_plan(Document(data, Place()))
