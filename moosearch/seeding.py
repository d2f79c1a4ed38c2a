"""Where randomness comes from: (campaign seed, candidate id, purpose), never order, worker or time."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(campaign_seed: int, purpose: str, candidate_id: str = "") -> int:
    """Derive an independent 63-bit seed.

    Args:
        campaign_seed: The seed of the campaign, >= 0.
        purpose: What the numbers are for, such as ``"train"``; different purposes are independent.
        candidate_id: Hexadecimal id, or empty for numbers that all candidates share (common random
            numbers: for example the random starts of the attack that judges them).

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> derive_seed(0, "train", "3f9c") == derive_seed(0, "train", "3f9c")
        True
        >>> derive_seed(0, "train", "3f9c") == derive_seed(0, "train", "3f9d")
        False
    """
    words = [
        campaign_seed,
        int(candidate_id or "0", 16),
        int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big"),
    ]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def numpy_generator(seed: int) -> np.random.Generator:
    """Return a numpy generator for a derived seed."""
    return np.random.default_rng(seed)


def torch_generator(seed: int, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """Return a torch generator for a derived seed on a device."""
    import torch

    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def seeded_torch(seed: int, device: "torch.device | None" = None) -> Iterator[None]:
    """Seed torch's global generators for a block, and put their states back afterwards.

    Only for code that takes no generator: the initialization of `torch.nn` modules, and dropout.

    Args:
        seed: The seed.
        device: A CUDA device whose generator is seeded too.
    """
    import torch

    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
