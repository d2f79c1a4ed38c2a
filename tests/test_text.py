"""Counted nouns: one of them is said in the singular."""

import re
from pathlib import Path

import pytest

from moosearch.text import counted

PACKAGE = Path(__file__).resolve().parents[1] / "moosearch"
NOUNS = (
    "candidates|members|trainings|recipes|images|seeds|CPUs|GPUs|plots|nodes|generations|campaigns|corners"
)
PLURAL = re.compile(rf"(?<![$])\{{[^{{}}]*\}} ({NOUNS}|genes|steps|threads|neighborhoods)\b")
MORE_THAN_ONE = {
    '{count} campaigns)" if count > 1',
    "{n} and {m} campaigns cannot",
    '"all {len(failed)} candidates"',
    "{spread.of} candidates have",
    "none of {len(known)} images",
    "{} images to train on",
    "{first.split} images",  # not a number
}
"""What is said of several alone."""


@pytest.mark.parametrize(
    ("count", "noun", "text"), [(0, "plot", "0 plots"), (1, "CPU", "1 CPU"), (1200, "image", "1,200 images")]
)
def test_one_is_in_the_singular(count, noun, text):
    assert counted(count, noun) == text


def test_no_text_puts_a_number_before_a_plural():
    found = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if PLURAL.search(line) and not any(text in line for text in MORE_THAN_ONE)
    }
    assert not found, "use moosearch.text.counted"
