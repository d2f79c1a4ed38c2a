"""A loss and a network in trouble, a user's own module; ``MOOSEARCH_UNTROUBLED`` takes the trouble away."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import nn

from moosearch.losses import LOSSES, Stateless, Terms
from moosearch.models import ARCHITECTURES

FITS = 100
"""Images that there is memory for in training."""
UNTROUBLED = "MOOSEARCH_UNTROUBLED" in os.environ


@LOSSES.register("troubled")
@dataclass(frozen=True)
class Troubled(Stateless):
    """Cross entropy that raises, is NaN, is slow, or ends its process: once, always, or by a fault."""

    kind: Literal["none", "raise", "nan", "slow", "once", "always", "segfault", "abort"] = "none"
    needs_clean: ClassVar[bool] = False

    def terms(self, clean, adversarial, labels):
        logits = adversarial.logits[0]
        loss = torch.nn.functional.cross_entropy(logits, labels[0])
        if self.kind != "none" and not UNTROUBLED:
            loss = self._trouble(loss)
        return Terms(loss)

    def _trouble(self, loss):
        if self.kind == "raise":
            raise RuntimeError("no luck")
        if self.kind == "nan":
            return loss * float("nan")
        if self.kind == "slow":
            time.sleep(1)
        if self.kind == "always":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "abort":
            os.abort()
        if self.kind == "once":
            marker = Path(os.environ["MOOSEARCH_FAULTS_MARKER"])
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return loss


@ARCHITECTURES.register("hungry")
@dataclass(frozen=True)
class Hungry:
    """A convolution, for whose gradients there is memory for a few images alone."""

    hungry: bool = False

    def trunk(self, shape):
        convolution = nn.Conv2d(shape[0], 4, 3, padding=1)
        if self.hungry and not UNTROUBLED:
            convolution.register_forward_pre_hook(_eat)
        return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()), 16


def _eat(_convolution, inputs):
    (images,) = inputs
    if torch.is_grad_enabled() and len(images) > FITS:
        raise torch.OutOfMemoryError(f"no memory for {len(images)} images")
