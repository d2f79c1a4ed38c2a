"""How a trained network is judged: attacked image by image, with intervals, and doubts where they are due."""

from moosearch.judging.measure import (
    Attacked,
    Marks,
    correct_clean,
    correct_under,
    fraction,
    judge,
    judgments,
)

__all__ = ["Attacked", "Marks", "correct_clean", "correct_under", "fraction", "judge", "judgments"]
