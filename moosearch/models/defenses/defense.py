"""What a defense is: a layer on the images of a network, or a block within it that cleans features."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import torch
from torch import nn

from moosearch.models.defenses.placement import inserted
from moosearch.registry import Registry, late


class DefenseLayer(nn.Module):
    """Base of the layers of defenses: each treats every image on its own, in training too.

    A number that a schedule may change is a buffer with the name of the plug-in's field, so that copies,
    checkpoints and exports have the value of their moment; see `follow`.

    Attributes:
        random: Whether it draws random numbers, in eval mode too.
    """

    random: ClassVar[bool] = False

    def hold(self, **numbers: float) -> None:
        """Keep numbers of the plug-in's fields as buffers, scalars in float32."""
        for name, value in numbers.items():
            self.register_buffer(name, torch.tensor(float(value)))


class InputDefense(Protocol):
    """A plug-in: a layer on images, before normalization. Any but ``none`` builds one, a `DefenseLayer`.

    Where the layer has no useful gradient, its backward pass is that of a differentiable stand-in (BPDA,
    Athalye et al. 2018), so that attacks and training see through it.
    """

    def layer(self, shape: tuple[int, int, int]) -> nn.Module | None:
        """Build the layer: (B, C, H, W) in [0, 1] -> the same.

        Parameters are initialized on the CPU from torch's global generator.

        Args:
            shape: (C, H, W) of the images.

        Raises:
            SpecError: The images are too small for it.
        """
        ...


class Denoiser(Protocol):
    """A plug-in: a block on feature maps, put after stages of a trunk."""

    @property
    def after(self) -> tuple[int, ...]:
        """The stages, from 1; negative ones count from the last, which is -1."""
        ...

    def block(self, channels: int) -> nn.Module | None:
        """Build a block: (B, channels, H, W) -> the same."""
        ...


INPUT_DEFENSES: Registry[InputDefense] = Registry("input defense")
DENOISERS: Registry[Denoiser] = Registry("denoiser")


@INPUT_DEFENSES.register("none")
@dataclass(frozen=True)
class NoInputDefense:
    """Images as they are."""

    def layer(self, shape: tuple[int, int, int]) -> None:
        """Build nothing."""


@DENOISERS.register("none")
@dataclass(frozen=True)
class NoDenoiser:
    """Features as they are."""

    after: ClassVar[tuple[int, ...]] = ()

    def block(self, channels: int) -> None:
        """Build nothing."""


@dataclass(frozen=True)
class DefenseSpec:
    """The ``defenses:`` part of a candidate: what its network carries besides its architecture.

    Attributes:
        input: Layers on the images, in this order, before normalization.
        denoise: Blocks on the features.
    """

    input: tuple[Annotated[InputDefense, INPUT_DEFENSES], ...] = late(())
    denoise: Annotated[Denoiser, DENOISERS] = late(NoDenoiser())

    def guard(self, shape: tuple[int, int, int]) -> nn.Sequential:
        """Build the layers on the images: (B, C, H, W) -> the same."""
        layers = [defense.layer(shape) for defense in self.input]
        return nn.Sequential(*(layer for layer in layers if layer is not None))

    def denoised(self, trunk: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
        """Return a trunk with blocks after the stages that are asked for.

        Args:
            trunk: (B, C, H, W) -> (B, o), layer by layer.
            shape: (C, H, W) of the images.

        Raises:
            SpecError: There is no such stage, or the trunk is not made of layers.
        """
        if not self.denoise.after:
            return trunk
        return inserted(trunk, shape, self.denoise.after, self.denoise.block)

    @torch.no_grad()
    def follow(self, guard: nn.Sequential, trunk: nn.Module) -> None:
        """Give layers that were built by a spec of other numbers the numbers of this one.

        Args:
            guard: The layers on the images.
            trunk: The trunk with its blocks.
        """
        plugins = [defense for defense in self.input if not isinstance(defense, NoInputDefense)]
        blocks = [block for block in trunk.modules() if isinstance(block, DefenseLayer)]
        pairs: list[tuple[nn.Module, object]] = [*zip(guard, plugins, strict=True)]
        for layer, plugin in pairs + [(block, self.denoise) for block in blocks]:
            for name, held in layer.named_buffers(recurse=False):
                if hasattr(plugin, name):
                    held.fill_(getattr(plugin, name))
