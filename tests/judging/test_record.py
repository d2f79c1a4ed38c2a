"""What a judgment says as plain data; Wilson intervals against SciPy's and published values."""

import json
import math
from statistics import NormalDist

import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from moosearch.attacks.gradient import Fgsm, NoAttack
from moosearch.judging import Attacked, Marks
from moosearch.judging.record import record, share
from moosearch.judgment import Share, SuiteResult, wilson

SETTINGS = settings(deadline=None, derandomize=True, max_examples=200)
COUNTS = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@SETTINGS
@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_is_that_of_scipy(counts, confidence):
    theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson(*counts, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@SETTINGS
@given(COUNTS)
def test_ends_solve_the_score_equation(counts):
    """The interval holds the fractions that are less than z standard errors, their own, from the observed."""
    correct, images = counts
    z = NormalDist().inv_cdf(0.975)
    for end in wilson(correct, images):
        if 1e-12 < end < 1 - 1e-12:
            away = abs(correct / images - end)
            assert away == pytest.approx(z * math.sqrt(end * (1 - end) / images), rel=1e-6)


@pytest.mark.parametrize(
    ("correct", "images", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_against_published_intervals(correct, images, interval):
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    assert wilson(correct, images) == pytest.approx(interval, abs=5e-5)


@SETTINGS
@given(COUNTS)
def test_the_interval_holds_what_was_observed_and_stays_in_the_unit_range(counts):
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1
    assert low < high


@SETTINGS
@given(COUNTS)
def test_right_and_wrong_may_change_places(counts):
    correct, images = counts
    low, high = wilson(correct, images)
    assert wilson(images - correct, images) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("images", [1, 2, 20, 10_000])
def test_none_and_all_reach_the_border_and_no_further(images):
    z = NormalDist().inv_cdf(0.975) ** 2
    assert wilson(0, images) == pytest.approx((0.0, z / (images + z)), abs=1e-12)
    assert wilson(images, images) == pytest.approx((images / (images + z), 1.0), abs=1e-12)
    assert wilson(0, images)[0] == 0
    assert wilson(images, images)[1] == 1


def test_more_confidence_and_fewer_images_make_it_wider():
    def width(*arguments):
        low, high = wilson(*arguments)
        return high - low

    assert width(8, 10, 0.5) < width(8, 10, 0.95) < width(8, 10, 0.999)
    assert width(800, 1000) < width(80, 100) < width(8, 10)


def test_share_counts_marks():
    marks = torch.tensor([True, False, True, True])
    assert share(marks) == Share(3, 0.75, wilson(3, 4))


def judgment():
    clean = torch.tensor([True, True, True, False])
    nan = math.nan
    return Marks(
        clean,
        {
            "fgsm": Attacked(
                Fgsm(eps=0.1),
                torch.tensor([True, False, False, False]),
                torch.tensor([nan, 0.1, 0.3, nan]),
                seconds=2.0,
                images=3,
            ),
            "none": Attacked(NoAttack(), clean, torch.full((4,), nan), seconds=0.0, images=3),
        },
    )


def test_record_holds_what_was_judged():
    found = record(judgment())
    assert found.images == 4
    assert (found.clean.correct, found.worst_case.correct) == (3, 1)
    assert found.average_robust == (0.25 + 0.75) / 2
    fgsm = found.attacks["fgsm"]
    assert (fgsm.correct, fgsm.seconds, fgsm.images_per_second) == (1, 2.0, 1.5)
    assert fgsm.mean_distance == pytest.approx(0.2)
    assert (fgsm.attack["name"], fgsm.attack["eps"]) == ("fgsm", 0.1)


def test_record_says_none_where_there_is_nothing_to_say():
    none = record(judgment()).attacks["none"]
    assert none.mean_distance is none.images_per_second is None
    assert record(Marks(torch.tensor([True]))).average_robust is None


def test_record_is_json():
    found = record(judgment())
    written = json.dumps(found.to_tree(), allow_nan=False)
    assert pydantic.TypeAdapter(SuiteResult).validate_python(json.loads(written)) == found
