"""What an exported folder holds."""

import hashlib
from pathlib import Path

FORMAT = 2
"""Of the manifest; raised where readers of old ones would misread a new one. 2 has added keys to 1."""

WEIGHTS = "weights.safetensors"
ONNX = "model.onnx"
INT8 = "model.int8.onnx"
PROGRAM = "model.pt2"
NETWORK = "network.py"
SPEC = "spec.yaml"
CARD = "CARD.md"
MANIFEST = "manifest.json"

FILE_OF_PROGRAM = {"onnx": ONNX, "torch_export": PROGRAM, "network": NETWORK, "onnx_int8": INT8}
"""What runs, by what a manifest calls it."""

FILES = frozenset((WEIGHTS, ONNX, INT8, PROGRAM, NETWORK, SPEC, CARD, MANIFEST))
"""What `moosearch export` writes."""

MADE_OF_IT = frozenset(("evaluations", "plots", "__pycache__"))
"""What `evaluate`, `analyze` and an import of ``network.py`` leave in an export: it goes with the model."""


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def described(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return the size and the hash of every file in a folder, by name."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes())}
        for path in sorted(folder.iterdir())
    }
