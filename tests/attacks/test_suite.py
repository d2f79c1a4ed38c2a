import pytest

from moosearch.attacks import ATTACKS, Threat, check_attacks, named_attacks
from moosearch.attacks.autoattack import Apgd, AutoAttack, Fab, Square
from moosearch.attacks.carlini_wagner import CwLinf
from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.attacks.minimal import CwL2, DeepFool
from moosearch.attacks.noise import Noise
from moosearch.attacks.transfer import Transfer
from moosearch.data import Task
from moosearch.errors import SpecError

EPS = 8 / 255
LINF, L2 = Threat("linf", EPS), Threat("l2", 0.5)


def pgd(steps, eps=EPS, **options):
    return Pgd(eps=eps, step=eps / 10, steps=steps, random_start=True, **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fgsm", Fgsm(eps=EPS)),
        ("pgd20", pgd(20)),
        ("pgd100", pgd(100)),
        ("pgd5", Pgd(eps=EPS, step=EPS / 2, steps=5)),
        ("pgd10", Pgd(eps=EPS, step=EPS / 4, steps=10)),
        ("cw", CwLinf(eps=EPS)),
        ("deepfool", DeepFool(eps=EPS)),
        ("square", Square(eps=EPS)),
        ("apgd_ce", Apgd(eps=EPS)),
        ("apgd_dlr", Apgd(eps=EPS, objective="dlr")),
        ("apgd_t", Apgd(eps=EPS, objective="dlr", targets=9)),
        ("fab", Fab(eps=EPS)),
        ("fab_t", Fab(eps=EPS, targets=9)),
        ("autoattack", AutoAttack(eps=EPS)),
        ("noise", Noise(eps=EPS)),
        ("transfer", Transfer(surrogate="export", attack=pgd(20))),
        ("{name: pgd20, restarts: 3}", pgd(20, restarts=3)),
        ("{name: pgd, steps: 50, objective: margin}", pgd(50, objective="margin")),
        ("{name: pgd, steps: 20, eps: 1/10}", pgd(20, eps=0.1)),
        ("{name: pgd, steps: 20, step: 0.003}", Pgd(eps=EPS, step=0.003, steps=20)),
        ("{name: pgd, steps: 20, norm: l2, eps: 1}", pgd(20, eps=1.0, norm="l2")),
        ("{name: cw_l2, eps: 1}", CwL2(eps=1.0)),
        ("{name: transfer, attack: fgsm}", Transfer(surrogate="export", attack=Fgsm(eps=EPS))),
        ("{name: transfer, surrogate: b, attack: {name: pgd, steps: 30}}", Transfer("b", pgd(30))),
    ],
)
def test_attacks_have_names(name, expected):
    assert list(named_attacks([name], LINF, surrogate="export").values()) == [expected]


def test_the_norm_is_that_of_the_threat():
    attacks = named_attacks(["cw, fgsm, pgd20, square, transfer"], L2, surrogate="export")
    assert attacks["cw"] == CwL2(eps=0.5)
    assert {(attack.norm, attack.eps) for attack in attacks.values()} == {L2}
    assert attacks["pgd20"].step == pytest.approx(0.05)


def test_every_attack_of_the_registry_has_a_name_in_its_norm():
    for name in ATTACKS:
        if name != "none" and not ATTACKS.get(name).multitask:
            threat = L2 if name == "cw_l2" else LINF
            attack = named_attacks([name], threat, surrogate="export")[name]
            assert isinstance(attack, ATTACKS.get(name))
            assert (attack.norm, attack.eps) == threat


def test_a_text_may_hold_several_and_mappings():
    several = named_attacks(["fgsm,pgd20,{name: pgd, steps: 50}"], LINF)
    assert several == named_attacks(["fgsm", "pgd20", {"name": "pgd", "steps": 50}], LINF)
    assert list(several) == ["fgsm", "pgd20", "pgd(steps=50)"], "in their order"


def test_labels_name_what_was_given():
    text = "{name: transfer, attack: {name: pgd, steps: 30, objective: margin}}, {name: pgd, eps: 8/255}"
    assert list(named_attacks([text], LINF, surrogate="x")) == [
        "transfer(attack=pgd(steps=30, objective=margin))",
        "pgd(eps=8/255)",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["fgsm, autoatack"],
            r"attacks.autoatack: no attack is called 'autoatack'. Did you mean 'autoattack'",
        ),
        (["pgd_20"], r"no attack is called 'pgd_20'. Did you mean 'pgd20'"),
        (["pgd0"], r"pgd0.steps: got 0, expected at least 1"),
        (["{name: pgd, stpes: 3}"], r"pgd has no parameter 'stpes'. Did you mean 'steps'"),
        (["{name: apgd, objective: margin}"], r"objective: got 'margin', expected 'cross_entropy' or 'dlr'"),
        (["{steps: 3}"], r"expected the name of an attack or a mapping with `name`"),
        (["7"], r"got 7, expected the name of an attack"),
        (["{name: pgd"], r"attacks: \{name: pgd: this is not YAML"),
        ([""], r"attacks: none is named. Known: apgd,"),
        ([], r"attacks: none is named"),
        (["fgsm, pgd20, fgsm"], r"fgsm is named twice"),
        (["none"], r"got none .* expected an attack on the main task, in mode eval, with an eps above 0"),
        (["mixed"], r"got mixed .* on the main task"),
        (["{name: pgd, mode: train}"], r"in mode eval"),
        (["{name: fgsm, eps: 0}"], r"with an eps above 0"),
        (["cw_l2"], r"attacks.cw_l2: an attack in l2 without eps, and the threat is .* in linf"),
        (["{name: pgd, norm: l2}"], r"an attack in l2 without eps"),
        (["transfer"], r"attacks.transfer: `surrogate` is missing"),
        (["{name: transfer, surrogate: x, attack: mta}"], r"expected one on the main task alone"),
    ],
)
def test_mistakes_are_explained(names, message):
    with pytest.raises(SpecError, match=message):
        named_attacks(names, LINF)


@pytest.mark.parametrize("eps", [0, -1, float("nan")])
def test_a_ball_must_have_a_radius(eps):
    with pytest.raises(SpecError, match=rf"eps: got {eps}, expected more than 0"):
        named_attacks(["fgsm"], Threat("linf", eps))


def test_what_cannot_run_is_known_before_any_work(tmp_path):
    attacks = named_attacks(["fgsm, apgd_t, autoattack"], LINF)
    check_attacks(attacks, Task.main("abcd"), (3, 32, 32))
    with pytest.raises(SpecError, match=r"attacks: apgd_t: objective: dlr with targets needs 4 classes"):
        check_attacks(attacks, Task.main("abc"), (3, 32, 32))
    with pytest.raises(SpecError, match=r"attacks: square: square with norm: l2 needs images of 5 x 5"):
        check_attacks(named_attacks(["square"], L2), Task.main("0123456789"), (1, 4, 4))
    surrogate = named_attacks(["transfer"], LINF, surrogate=str(tmp_path))
    with pytest.raises(SpecError, match=r"attacks: transfer: surrogate: .*no exported model here"):
        check_attacks(surrogate, Task.main("0123456789"), (3, 32, 32))
