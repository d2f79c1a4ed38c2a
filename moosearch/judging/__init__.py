"""How a trained network is judged: attacked image by image, with intervals, and doubts where they are due."""

from moosearch.judging.measure import (
    Attacked,
    Judgment,
    correct_clean,
    correct_under,
    fraction,
    judge,
    judgments,
)

__all__ = ["Attacked", "Judgment", "correct_clean", "correct_under", "fraction", "judge", "judgments"]
