"""What a confirmation asks of a trained network, on test images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.evaluators.task import EvaluationOnTest
from moosearch.judgment import Judgment, MaskingCheck, ThreatResult

if TYPE_CHECKING:
    from moosearch.attacks import Threat
    from moosearch.data import Split, Task
    from moosearch.models import RobustNet

WARNED = "attack_warned"
"""Name of a check that failed because an attack warned."""


def evaluate_on_test(
    test_evaluation: EvaluationOnTest,
    net: "RobustNet",
    images: "Split",
    tasks: tuple["Task", ...],
    shape: tuple[int, int, int],
    objectives: Sequence[Any],
    *,
    seed: int,
) -> tuple[dict[str, float], Judgment]:
    """Judge a network.

    Args:
        test_evaluation: How.
        net: The network.
        images: Test images, on the network's device.
        tasks: The dataset's tasks.
        shape: (C, H, W) of an image.
        objectives: The campaign's objectives. Costs are not measured again.
        seed: Seed of the attacks, the same for all networks.

    Returns:
        Confirmed values by objective: of a robust accuracy what `RobustAccuracy.confirmed` makes of the
        suite's worst case in each of its threats, of another accuracy what it measures on the images. And
        the judgment: ``images``, ``clean`` (a share), ``as_searched`` (what the objectives measure on the
        images, but of proofs), and ``threats``: for each its ``norm`` and ``eps``, what
        `moosearch.judging.record.record` says, and the ``checks`` for masked gradients, to which an attack's
        own warnings count.
    """
    from moosearch.attacks.suite import named_attacks
    from moosearch.judging import correct_clean, judge
    from moosearch.judging.record import record, share
    from moosearch.training import Subject, key_of
    from moosearch.training.objectives import RobustAccuracy
    from moosearch.training.verified import VerifiedFraction

    clean = correct_clean(net, images)
    withstood, judged = {}, []
    for threat in test_evaluation.threats:
        attacks = named_attacks(test_evaluation.attacks, threat, surrogate=test_evaluation.surrogate)
        marks = judge(net, images, tasks, attacks, seed=seed)
        doubts = dict.fromkeys(each.doubt for each in marks.attacked.values() if each.doubt)
        withstood[threat] = marks.worst_case
        checks = _checks(test_evaluation, net, images, tasks, threat, seed)
        if doubts:
            checks.append(MaskingCheck(WARNED, passed=False, explanation=" ".join(doubts)))
        judged.append(
            ThreatResult(**vars(record(marks)), norm=threat.norm, eps=threat.eps, checks=tuple(checks))
        )
    subject = Subject(net, images, tasks, shape, seed)
    measured = {key_of(o): o.measure(subject) for o in objectives if o.kind == "fraction"}
    proofs = {key_of(o) for o in objectives if isinstance(o, VerifiedFraction)}
    as_searched = {key: value for key, value in measured.items() if key not in proofs}
    confirmed = {
        key_of(o): o.confirmed(withstood, clean) for o in objectives if isinstance(o, RobustAccuracy)
    }
    return measured | confirmed, Judgment(len(images), share(clean), as_searched, tuple(judged))


def _checks(
    test_evaluation: EvaluationOnTest,
    net: "RobustNet",
    images: "Split",
    tasks: tuple["Task", ...],
    threat: "Threat",
    seed: int,
) -> list[MaskingCheck]:
    """Look for masked gradients."""
    from moosearch.judging.masking import checks, explain

    surrogate = Path(test_evaluation.surrogate) if test_evaluation.surrogate else None
    found = checks(net, images, tasks, threat, seed=seed, surrogate=surrogate)
    return [MaskingCheck(name, explanation=explain(name), **check) for name, check in found.items()]
