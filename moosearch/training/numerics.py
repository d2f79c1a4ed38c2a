"""In what precision and memory layout a candidate is trained, and the safe choice for a device."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch

BF16_PIXELS = 16 * 16
"""Smaller images gain nothing from bfloat16: their time goes into starting operations."""

_IMITATED = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Sets of instructions, as oneDNN calls them, without products in bfloat16."""


@dataclass(frozen=True)
class NumericsSpec:
    """How training computes. Candidates are always judged in float32.

    Attributes:
        precision: ``fp32``; ``bf16`` (attack and network in bfloat16, weights, heads and losses in float32);
            ``auto``: bf16 where the device has instructions for it and the images are not tiny.
        memory_format: Of images and convolutions; ``auto`` is ``channels_last``.
        compile: Compile the trunk with torch.compile: pays for itself in long trainings only.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: bool = False

    def on(self, device: torch.device, shape: tuple[int, int, int]) -> "Numerics":
        """Choose for a device and (C, H, W) images."""
        low = self.precision == "bf16"
        if self.precision == "auto":
            low = has_bf16(device) and shape[1] * shape[2] >= BF16_PIXELS
        contiguous = self.memory_format == "contiguous"
        return Numerics(
            device,
            torch.bfloat16 if low else torch.float32,
            torch.contiguous_format if contiguous else torch.channels_last,
        )


@dataclass(frozen=True)
class Numerics:
    """What was chosen.

    Attributes:
        device: The device.
        dtype: In which trunks compute.
        memory_format: Of images and convolutions.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    @property
    def plain(self) -> "Numerics":
        """Contiguous in float32, on the same device: what is trusted everywhere."""
        return replace(self, dtype=torch.float32, memory_format=torch.contiguous_format)

    def __str__(self) -> str:
        """Name precision and layout for people."""
        layout = str(self.memory_format).removeprefix("torch.").removesuffix("_format")
        return f"{str(self.dtype).removeprefix('torch.')}, {layout}"

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the chosen precision within a block."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, rather than imitating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return instruction_limit() not in _IMITATED and bool(
            able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16")
        )
    return False


def instruction_limit() -> str:
    """Return the instructions that oneDNN is told to keep to, which torch does not know of; or nothing."""
    named = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return "" if named.upper() in ("ALL", "DEFAULT") else named.upper()
