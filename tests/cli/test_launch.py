"""What is said after a search or a training."""

import pytest
import typer

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


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([None, None], ("there is no front: no candidate completed", "2 candidates, 2 failed;")),
        (
            [None, [0.5, 9]],
            ("there is no front: no candidate meets the constraints", "2 candidates, 1 failed;"),
        ),
        ([None, (0.5, 9)], ("front of 1, hypervolume", "2 candidates, 1 failed;")),
    ],
)
def test_the_reasons_why_candidates_failed_are_summed_up(made_up, tmp_path, capsys, rows, said):
    with pytest.raises(typer.Exit) as ended:
        launch._finish(made_up(tmp_path / "c", rows))
    assert ended.value.exit_code == 3
    printed = capsys.readouterr().out
    count = "2 candidates" if rows == [None, None] else "1 candidate"
    for text in (*said, f"{count} failed: RuntimeError: no\n"):
        assert text in printed
