"""Attacks by name, in the ball of a threat: what a network is judged by."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from moosearch.attacks.attack import ATTACKS, Attack
from moosearch.attacks.ball import Norm, Threat
from moosearch.attacks.bpda import Bpda
from moosearch.attacks.gradient import IterativeAttack, Pgd
from moosearch.attacks.seeker import RowSeeker
from moosearch.attacks.transfer import Transfer
from moosearch.data.tasks import Task
from moosearch.errors import Place, SpecError, nearest
from moosearch.registry import build, field_hints, to_tree
from moosearch.space.files import read_value

Node = str | Mapping[str, Any]
"""An attack as it is written down: a name, or a mapping with `name` and parameters."""

HINT = Annotated[Attack, ATTACKS]

SHORT: dict[str, dict[str, Any]] = {
    "apgd_ce": {"name": "apgd"},
    "apgd_dlr": {"name": "apgd", "objective": "dlr"},
    "apgd_t": {"name": "apgd", "objective": "dlr", "targets": 9},
    "fab_t": {"name": "fab", "targets": 9},
}
"""Names beside those of the registry, ``cw``, and ``pgd`` with its steps such as ``pgd20``."""

NESTED: dict[type, Node] = {Transfer: "pgd20", Bpda: {"name": "pgd20", "objective": "margin"}}
"""The attack within another one, where none is given."""

CW: dict[Norm, str] = {"linf": "cw_linf", "l2": "cw_l2"}


def named_attacks(names: Sequence[Node], threat: Threat, *, surrogate: str = "") -> dict[str, Attack]:
    """Return attacks that are named, in the ball of a threat.

    What is not given is filled in: ``eps`` and ``norm`` from the threat; the ``step`` of PGD by a tenth of
    its eps, as in Hotegni & Peitz 2024, and where there are fewer than 20 steps by so much that all of them
    are 2.5 eps long: they can cross the ball.

    Args:
        names: Names or mappings. A name is one of the registry or of `SHORT`, ``pgd`` with its steps such as
            ``pgd20``, or ``cw``, which is ``cw_linf`` or ``cw_l2``. A text may hold several, separated by
            commas, and mappings: ``fgsm, pgd20, {name: pgd, steps: 50}``.
        threat: The ball.
        surrogate: The exported folder for ``transfer``.

    Returns:
        Attacks by a label that is readable and unique.

    Raises:
        SpecError: A name is unknown, a parameter is wrong, or an attack is not for judging.
    """
    if not threat.eps > 0:
        raise SpecError(f"eps: got {threat.eps}, expected more than 0: there would be nothing to withstand.")
    attacks: dict[str, Attack] = {}
    for node in [node for name in names for node in _nodes(name)]:
        label = _label(node)
        if label in attacks:
            raise SpecError(f"attacks: {label} is named twice.")
        attack = _attack(node, threat, surrogate, Place(shown=("attacks", label)))
        if attack.multitask or attack.mode != "eval" or attack.eps == 0:
            raise SpecError(
                f"attacks: got {label} with {attack!r}, expected an attack on the main task, "
                "in mode eval, with an eps above 0: what a deployed network meets."
            )
        attacks[label] = attack
    if not attacks:
        raise SpecError(f"attacks: none is named. {_known_names('')}")
    return attacks


def check_attacks(attacks: Mapping[str, Attack], task: Task, shape: tuple[int, int, int]) -> None:
    """Check before any work that attacks can be run.

    Args:
        attacks: Attacks by label.
        task: The main task.
        shape: (C, H, W) of an image.

    Raises:
        SpecError: One cannot: the images are too small for it, the classes too few, its surrogate is not
            there or is about other ones, or it knows of one label an image.
    """
    for label, attack in attacks.items():
        if task.top > 1 and not attack.several_labels:
            raise SpecError(
                f"attacks: {label}: it knows of one label an image, and these have {task.top}. Known for "
                "them: fgsm and pgd, without a target, on every objective but dlr; bpda around them; noise."
            )
        if isinstance(attack, RowSeeker | Pgd | Bpda):
            try:
                attack.check(classes=task.size, shape=shape)
            except SpecError as error:
                raise SpecError(f"attacks: {label}: {error}") from None


def _nodes(name: Node) -> Sequence[Node]:
    """Take a text apart at its commas, unless they are those of a mapping."""
    if isinstance(name, Mapping):
        return [name]
    nodes: Sequence[Node] = read_value(f"[{name}]", f"attacks: {name}")
    return nodes


def _label(node: Any) -> str:
    """Return what an attack is called: its name, and in brackets the parameters that were given."""
    if not isinstance(node, Mapping):
        return str(node)
    parameters = [f"{key}={_label(value)}" for key, value in node.items() if key != "name"]
    name = str(node.get("name", ""))
    return f"{name}({', '.join(parameters)})" if parameters else name


def _attack(node: Node, threat: Threat, surrogate: str, place: Place) -> Attack:
    given = _spelled_out(node, threat.norm, place)
    hints = field_hints(ATTACKS.get(given["name"]))
    known = {"eps": threat.eps, "norm": threat.norm} | ({"surrogate": surrogate} if surrogate else {})
    filled = {key: value for key, value in known.items() if key in hints} | given
    default = NESTED.get(ATTACKS.get(given["name"]))
    if default is not None:
        nested = _attack(given.get("attack", default), threat, surrogate, place.child("attack"))
        filled["attack"] = to_tree(nested, HINT)
    attack: Attack = build(HINT, filled, place)
    if "eps" in hints and "eps" not in given and attack.norm != threat.norm:
        raise place.error(
            f"an attack in {attack.norm} without eps, and the threat is {threat.eps} in {threat.norm}: "
            f"expected an eps in {attack.norm}, or an attack in {threat.norm}."
        )
    if isinstance(attack, IterativeAttack) and "step" not in given:
        return replace(attack, step=attack.eps / (10 if attack.steps >= 20 else attack.steps / 2.5))
    return attack


def _spelled_out(node: Node, norm: Norm, place: Place) -> dict[str, Any]:
    """Return an attack as a mapping with a name of the registry."""
    if not isinstance(node, str | Mapping) or (isinstance(node, Mapping) and "name" not in node):
        raise place.error(f"got {node!r}, expected the name of an attack or a mapping with `name`.")
    given = {"name": node} if isinstance(node, str) else dict(node)
    name = str(given["name"])
    steps = re.fullmatch(r"pgd([0-9]{1,9})", name)
    if steps is not None:
        spelled: dict[str, Any] = {"name": "pgd", "steps": int(steps[1])}
    else:
        spelled = {"name": CW[norm]} if name == "cw" else SHORT.get(name, {"name": name})
    if spelled["name"] not in ATTACKS:
        raise place.error(f"no attack is called '{name}'. {_known_names(name)}")
    return spelled | {key: value for key, value in given.items() if key != "name"}


def _known_names(name: str) -> str:
    judging = [known for known in ATTACKS if known != "none" and not ATTACKS.get(known).multitask]
    return nearest(name, [*judging, *SHORT, "cw", "pgd20"])
