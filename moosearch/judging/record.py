"""What marks of images say: counts, intervals, distances, speed."""

import math
from typing import Annotated, Any

from torch import Tensor

from moosearch.attacks import ATTACKS, Attack
from moosearch.judging.measure import Attacked, Marks
from moosearch.judgment import AttackShare, Share, SuiteResult
from moosearch.registry import to_tree


def share(marks: Tensor) -> Share:
    """Return what (N,) booleans say."""
    return Share.of(int(marks.sum()), len(marks))


def record(marks: Marks) -> SuiteResult:
    """Return what attacks did, as plain data."""
    average = marks.average_robust
    return SuiteResult(
        len(marks.clean),
        share(marks.clean),
        share(marks.worst_case),
        None if math.isnan(average) else average,
        {name: _attacked(each) for name, each in marks.attacked.items()},
    )


def attack_tree(attack: Attack) -> Any:
    """Return an attack as in a search space file."""
    return to_tree(attack, Annotated[Attack, ATTACKS])


def _attacked(each: Attacked) -> AttackShare:
    fooled = each.distance[~each.distance.isnan()]
    withstood = share(each.robust)
    return AttackShare(
        withstood.correct,
        withstood.accuracy,
        withstood.interval,
        attack_tree(each.attack),
        each.attack.norm,
        each.attack.eps,
        float(fooled.mean()) if len(fooled) else None,
        each.seconds,
        each.images / each.seconds if each.images and each.seconds else None,
        each.doubt,
    )
