"""Networks back from exported folders, without the campaign and without the images."""

import importlib
import json
from pathlib import Path
from typing import Annotated

from safetensors.torch import load_file

from moosearch.data import Task
from moosearch.errors import ExportError
from moosearch.models.architecture import ARCHITECTURES, Architecture, build_network
from moosearch.models.network import RobustNet
from moosearch.registry import build
from moosearch.space.files import load


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
    missing = [
        name
        for name in ("spec.yaml", "manifest.json", "weights.safetensors")
        if not (folder / name).is_file()
    ]
    if missing:
        raise ExportError(
            f"{folder}: no exported model here, `{missing[0]}` is missing. "
            "Write one with `moosearch export DIR`."
        )
    document = load(folder / "spec.yaml")
    for module in document.data.get("imports") or []:
        importlib.import_module(module)
    place = document.place.child("candidate").child("architecture")
    architecture = build(
        Annotated[Architecture, ARCHITECTURES], document.data["candidate"]["architecture"], place
    )
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        channels, height, width = manifest["input"]["shape"][1:]
        task = Task.main(manifest["output"]["classes"])
        net = build_network(architecture, (channels, height, width), (task,), seed=0)
        net.deployed().load_state_dict(load_file(folder / "weights.safetensors"))
    except Exception as error:
        raise ExportError(f"{folder}: its files do not belong together: {error}") from error
    return net.eval()
