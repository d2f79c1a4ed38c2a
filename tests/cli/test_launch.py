"""What is said after a search or a training."""

import pytest

from moosearch.cli import launch
from moosearch.evaluation import Candidate, Evaluation


@pytest.mark.parametrize("fault", ["", "convolution of 2x4x8x8 and 8x4x1x1 in float32 is computed wrongly"])
def test_candidates_that_wrong_kernels_changed_are_named(capsys, fault):
    evaluations = [
        Evaluation(Candidate(name, {}, {}), "complete", provenance={"fault": fault} if name == "a" else {})
        for name in "ab"
    ]
    launch._say_of_kernels(evaluations)
    said = capsys.readouterr().out
    line = f"1 of 2 trained contiguous in float32, which is slower: on this machine a {fault}\n"
    assert said == (line if fault else "")
