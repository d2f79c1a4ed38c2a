"""Defenses that any network can carry: layers on its images, blocks on its features."""

from moosearch.models.defenses import (  # noqa: F401 (registers)
    denoising,
    noise,
    perturbation_filter,
    squeezing,
)
from moosearch.models.defenses.defense import DENOISERS, INPUT_DEFENSES, DefenseLayer, DefenseSpec

__all__ = ["DENOISERS", "INPUT_DEFENSES", "DefenseLayer", "DefenseSpec"]
