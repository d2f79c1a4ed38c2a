"""The deployed network as programs: ONNX, torch.export, and a source file that needs torch alone."""

import contextlib
import logging
import runpy
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from moosearch.errors import ExportError
from moosearch.export.files import NETWORK, ONNX, PROGRAM
from moosearch.export.session import Session
from moosearch.export.standalone import network_source


@dataclass(frozen=True)
class Programs:
    """What was written.

    Attributes:
        parity: Largest difference of a logit from the network's, by program.
        missing: Files that could not be written, and why.
    """

    parity: Mapping[str, float]
    missing: Mapping[str, str]


def write_programs(model: nn.Module, images: Tensor, classes: tuple[str, ...], folder: Path) -> Programs:
    """Write every program of a network with a free batch size, and compare each with the network.

    Args:
        model: The deployed network in eval mode, on the CPU: raw pixels to logits.
        images: (N, C, H, W) float32 images in [0, 1] to compare on, at least 2.
        classes: Names of the classes.
        folder: Where to write; ``weights.safetensors`` is in it.
    """
    missing: dict[str, str] = {}
    with quiet():
        program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
        _forget_files(program)
        torch.export.save(program, folder / PROGRAM)
        parity = {"torch_export": difference(model, torch.export.load(folder / PROGRAM).module(), images)}
        written = torch.onnx.export(
            program,
            (images[:2],),
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
        )
        assert written is not None
        written.save(folder / ONNX, external_data=False)
    parity = {"onnx": difference(model, Session(folder / ONNX), images), **parity}
    try:
        source = network_source(program, classes)
    except ExportError as error:
        missing[NETWORK] = str(error)
    else:
        (folder / NETWORK).write_text(source, encoding="utf-8")
        # Run as a file, not imported: no compiled copy is left beside it.
        load = runpy.run_path(str(folder / NETWORK))["load"]
        parity["network"] = difference(model, load(folder), images)
    return Programs(parity, missing)


def _forget_files(program: torch.export.ExportedProgram) -> None:
    """Take from a traced program in which files of this machine its operations were written."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)


@torch.no_grad()
def difference(model: nn.Module, other: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Return the largest difference of a logit over three batch sizes."""
    return max(float((model(batch) - other(batch)).abs().max()) for batch in (x, x[:7], x[:1]))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' progress and deprecation notices."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
