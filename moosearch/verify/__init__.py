"""Proofs of robustness: what no image of a box can do to a network."""

from moosearch.verify.bounds import Relaxation
from moosearch.verify.box import Box, Layers
from moosearch.verify.certify import Certificate, certify, points
from moosearch.verify.piecewise import Piecewise, check_layers
from moosearch.verify.verifier import TOLERANCE, Effort, Verdict, Verifier

__all__ = [
    "TOLERANCE",
    "Box",
    "Certificate",
    "Effort",
    "Layers",
    "Piecewise",
    "Relaxation",
    "Verdict",
    "Verifier",
    "certify",
    "check_layers",
    "points",
]
