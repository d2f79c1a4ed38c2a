"""A judgment as plain data: what is written is read back, and what contradicts itself is not believed."""

import copy
import json

import pytest

from moosearch.judgment import AttackShare, Judgment, MaskingCheck, Measure, Share, ThreatResult

IMAGES = 50


def threat(eps, robust):
    share = Share.of(robust, IMAGES)
    attack = AttackShare(
        *vars(share).values(), {"name": "fgsm", "eps": eps}, "linf", eps, None, 1.0, None, ""
    )
    checks = (MaskingCheck("flat", passed=robust > 10, explanation="Nothing moves."),)
    return ThreatResult(
        IMAGES, Share.of(45, IMAGES), share, robust / IMAGES, {"fgsm": attack}, "linf", eps, checks
    )


@pytest.fixture
def judgment():
    seen = {"clean_accuracy": 0.9, "robust_accuracy": 0.8}
    return Judgment(IMAGES, Share.of(45, IMAGES), seen, (threat(0.1, 30), threat(0.2, 5)))


def test_what_is_written_is_read_back(judgment):
    assert Judgment.of(json.loads(json.dumps(judgment.to_tree(), allow_nan=False))) == judgment


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("clean", "accuracy"), 0.99),
        (("clean", "correct"), 51),
        (("threats", 0, "worst_case", "correct"), -1),
        (("threats", 1, "attacks", "fgsm", "accuracy"), 0.9),
        (("threats", 0, "images"), 49),
        (("images",), 0),
        (("threats",), None),
        (("threats", 0, "checks", 0, "passed"), "perhaps"),
    ],
)
def test_what_contradicts_itself_is_not_believed(judgment, path, value):
    tree = copy.deepcopy(json.loads(json.dumps(judgment.to_tree())))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ValueError, match=r"\S"):
        Judgment.of(tree)


def test_numbers_have_columns_and_labels(judgment):
    found = judgment.measured()
    assert found[Measure("attack", "fgsm", "linf_0.2")] == 0.1
    assert {measure.column for measure in found} == {
        *("clean_accuracy_as_searched", "robust_accuracy_as_searched"),
        *(f"{name}_linf_{eps}" for name in ("attack_fgsm", "suite_worst_case") for eps in (0.1, 0.2)),
        *(f"suite_average_robust_linf_{eps}" for eps in (0.1, 0.2)),
    }
    assert Measure("attack", "auto_attack", "linf_0.2").label == "auto attack linf 0.2"
    assert Measure("average_robust").label == "average robust"
    assert Measure("objective", "robust_accuracy").column == "robust_accuracy"


def test_checks_that_failed_are_named(judgment):
    assert judgment.failed_checks == {"flat": "Nothing moves."}
