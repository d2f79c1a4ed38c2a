"""A solver that lies is not believed; nor is a proof that an image contradicts."""

import highspy
import numpy as np
import pytest

from moosearch.verify import Relaxation, Verifier, highs, milp, verifier
from moosearch.verify.branch import Branching
from moosearch.verify.expand import naive
from moosearch.verify.falsify import margins
from moosearch.verify.highs import Claim
from moosearch.verify.program import encode
from moosearch.verify.searched import Searched
from tests.verify.networks import box_of, case, grid
from tests.verify.test_expand import oracle


def liar(lies):
    """HiGHS that calls a program infeasible where it lies, which depends on the option presolve."""

    class Liar(highspy.Highs):
        presolve = "choose"

        def setOptionValue(self, name, value):  # noqa: N802 (its name there)
            if name == "presolve":
                self.presolve = value
            return super().setOptionValue(name, value)

        def getModelStatus(self):  # noqa: N802
            return highspy.HighsModelStatus.kInfeasible if lies(self.presolve) else super().getModelStatus()

    return Liar


@pytest.fixture
def program_alone(monkeypatch):
    """Leave everything to the program: the attack finds nothing, and branch and bound gives up at once."""
    monkeypatch.setattr(verifier, "attack", lambda _net, box, *_a, **_k: (box.lower, -1.0))
    monkeypatch.setattr(Branching, "search", lambda *_a, **_k: Searched("unknown", None))


def vulnerable_boxes():
    for seed in range(8):
        _, net, x, moving = case("pooled", seed)
        box, target = box_of(x, moving, 0.9), int(np.argsort(-net(x[None])[0])[0])
        if margins(net(grid(box, 11)), target, 1).max() >= 0:
            yield net, box, target


@pytest.mark.parametrize(
    ("lies", "expected"),
    [
        (lambda _presolve: False, "vulnerable"),
        (lambda presolve: presolve != "off", "vulnerable"),
        (lambda _presolve: True, "unknown"),
    ],
    ids=["honest", "with presolve", "always"],
)
def test_no_lie_proves_anything(lies, expected, monkeypatch, program_alone):
    monkeypatch.setattr(highspy, "Highs", liar(lies))
    answers = [Verifier(net).verify(box, target) for net, box, target in vulnerable_boxes()]
    assert {(each.answer, each.way) for each in answers} == {(expected, "milp")}
    assert len(answers) > 1


def test_what_only_presolve_says_is_not_believed(monkeypatch, program_alone):
    """Without the time to ask again."""
    asked = []

    def run(_program, *, presolve, **_more):
        asked.append(presolve)
        return Claim("infeasible" if presolve else "undecided")

    monkeypatch.setattr(highs, "run", run)
    net, box, target = next(vulnerable_boxes())
    assert Verifier(net).verify(box, target).answer == "unknown"
    assert asked == [True, False]


def test_a_proof_that_an_image_contradicts_is_none(monkeypatch):
    net, box, target = next(vulnerable_boxes())
    monkeypatch.setattr(verifier, "attack", lambda _net, box, *_a, **_k: (box.lower, -1e-7))
    monkeypatch.setattr(Branching, "root", lambda _self: (np.zeros(0), np.zeros((0, 36))))
    verdict = Verifier(net).verify(box, target)
    assert (verdict.answer, verdict.way) == ("unknown", "bounds")


OPTIMAL = Claim("optimal", np.array([-0.5]))


@pytest.mark.parametrize(
    ("claims", "reached", "known", "ceiling", "said"),
    [
        ([Claim("infeasible")] * 2, [], -0.5, 1.0, ""),
        ([Claim("infeasible")] * 2, [], -1e-7, 1.0, "found none"),
        ([Claim("infeasible"), Claim("feasible", np.array([0.1]))], [0.1], -0.5, 1.0, "found none"),
        ([OPTIMAL, OPTIMAL], [-0.5, -0.5], -0.6, 1.0, ""),
        ([Claim("optimal", np.array([-0.444])), OPTIMAL], [-0.444, -0.5], -0.6, 1.0, "the largest"),
        ([OPTIMAL], [-0.5], -0.4, 1.0, "the largest"),
        ([OPTIMAL], [-0.7], -0.8, 1.0, "the network"),
        ([Claim("feasible", np.array([-0.6]))], [-0.5], -0.8, 1.0, ""),
        ([OPTIMAL], [-0.5], -0.6, -0.55, "the bounds"),
    ],
)
def test_what_contradicts_a_claim(claims, reached, known, ceiling, said):
    found = milp.disagreement(claims, np.array(reached), known, -1e-6, ceiling)
    assert (said in found) if said else not found


@pytest.mark.parametrize(
    ("claim", "right"),
    [
        (Claim("optimal", np.array([-0.5])), True),
        (Claim("optimal", np.array([-0.49])), False),
        (Claim("infeasible"), False),
        (Claim("undecided"), True),
    ],
)
def test_what_it_says_of_the_known_image(claim, right):
    assert (milp.misjudged(claim, -0.5) == "") is right


@pytest.mark.parametrize("presolve", [True, False])
def test_the_solver_is_right_about_single_images(presolve):
    """At a tolerance of 1e-9, 77 of 648 were not with HiGHS 1.15.1."""
    for name, top in (("pooled", 1), ("before", 2), ("averaged", 2)):
        _, net, x, moving = case(name, 3, pixels=8)
        target = int(np.argsort(-net(x[None])[0])[0])
        others = [number for number in range(net.classes) if number != target]
        box = box_of(x, moving, 0.6)
        program = encode(Relaxation(net, box), target, others, top=top, at_least=0.0)
        images = np.random.default_rng(0).uniform(box.lower, box.upper, (10, x.size))
        images[::2] = np.where(images[::2] > (box.lower + box.upper) / 2, box.upper, box.lower)
        for image, margin in zip(images, margins(net(images), target, top), strict=True):
            claim = highs.run(program.at(image), presolve=presolve, time_limit=60)
            assert milp.misjudged(claim, margin) == ""
            assert claim.kind == "optimal"


def test_a_witness_takes_a_neighborhood_back():
    asked = oracle(0)
    ones = np.ones(asked.layers.count)
    asked._robust = [0.99 * ones]
    assert asked.ask(0.98 * ones) == "robust"
    assert asked.ask(ones) == "vulnerable"
    assert asked.ask(0.98 * ones) == "vulnerable", "the witness lies farther inside"


def test_no_neighborhood_has_a_witness_in_it():
    """Whatever was proved on the way."""
    asked = oracle(0)
    ones = np.ones(asked.layers.count)
    asked._robust, asked.witnesses = [ones], [np.clip(asked.x + 0.1, 0, 1)]
    found = naive(asked, ones, 0.1)
    assert asked.witness(found.eps) is None
    assert found.size == 0
    assert set(found.faces) == {"unknown"}
