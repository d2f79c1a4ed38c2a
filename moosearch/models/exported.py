"""Networks back from exported folders, without the campaign and without the images."""

import importlib
import json
from pathlib import Path
from typing import Annotated, NamedTuple

from safetensors.torch import load_file

from moosearch.data import Task
from moosearch.errors import ExportError
from moosearch.models.architecture import ARCHITECTURES, Architecture, build_network
from moosearch.models.defenses import DefenseSpec
from moosearch.models.network import RobustNet
from moosearch.registry import build
from moosearch.space.files import load


class Signature(NamedTuple):
    """What an exported network takes and what it tells apart.

    Attributes:
        shape: (C, H, W) of an image.
        classes: Names of the classes.
        labels: How many labels an image has.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: int = 1


def signature(folder: Path | str) -> Signature:
    """Read what an exported network is about, without loading it.

    Args:
        folder: A folder that `moosearch export` wrote.

    Raises:
        ExportError: The folder is no export, or its manifest is not that of one.
    """
    folder = Path(folder)
    for name in ("spec.yaml", "manifest.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise ExportError(
                f"{folder}: no exported model here, `{name}` is missing. "
                "Write one with `moosearch export DIR`."
            )
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        _, channels, height, width = manifest["input"]["shape"]
        output = manifest["output"]
        return Signature((channels, height, width), tuple(output["classes"]), int(output.get("labels", 1)))
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{folder}/manifest.json: not the manifest of an export: {error!r}") from error


def load_exported(folder: Path | str) -> RobustNet:
    """Rebuild the network of a folder that `moosearch export` wrote, with its main head alone.

    Args:
        folder: The folder, with ``spec.yaml``, ``manifest.json`` and ``weights.safetensors``.

    Returns:
        The network in eval mode, on the CPU.

    Raises:
        ExportError: The folder is no export, or its files do not belong together.
    """
    folder = Path(folder)
    shape, classes, _ = signature(folder)
    document = load(folder / "spec.yaml")
    place = document.place.child("candidate")
    try:
        for module in document.data.get("imports") or []:
            importlib.import_module(module)
        candidate = document.data["candidate"]
        architecture: Architecture = build(
            Annotated[Architecture, ARCHITECTURES], candidate["architecture"], place.child("architecture")
        )
        defenses: DefenseSpec = build(DefenseSpec, candidate.get("defenses", {}), place.child("defenses"))
        net = build_network(architecture, shape, (Task.main(classes),), seed=0, defenses=defenses)
        net.deployed().load_state_dict(load_file(folder / "weights.safetensors"))
    except Exception as error:  # whatever a user's own module or a damaged file does
        reason = " ".join(str(error).split())
        raise ExportError(f"{folder}: its files do not belong together: {reason}") from error
    return net.eval()
