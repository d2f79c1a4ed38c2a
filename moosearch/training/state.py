"""Plain data with tensors as bytes and back: what a training needs to go on elsewhere, without pickle."""

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

Tree = Any
"""Nested dicts, lists, tuples and counters of texts, numbers, booleans, None and tensors."""

_MAPPINGS: dict[str, type] = {"dict": dict, "counter": Counter}
_SEQUENCES: dict[str, type] = {"list": list, "tuple": tuple}


def pack(tree: Tree, mark: str) -> bytes:
    """Write a tree as safetensors: everything but its tensors is JSON in the metadata.

    Args:
        tree: The tree. Tensors keep the order of their dimensions in memory; one that is there several times
            is written once.
        mark: Whose it is; `unpack` must be given the same.

    Raises:
        TypeError: Something in the tree is nothing of the kind.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_to_plain(tree, tensors, {}))
    metadata = {"mark": mark, "tree": text, "checksum": _checksum(text, tensors)}
    return safetensors.torch.save(tensors, metadata)


def unpack(data: bytes, mark: str) -> Tree | None:
    """Read a tree, tensors on the CPU; None where the bytes are damaged, or not what the mark says."""
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError:
        return None
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    text = metadata.get("tree", "")
    if metadata.get("mark") != mark or metadata.get("checksum") != _checksum(text, tensors):
        return None
    return _from_plain(json.loads(text), tensors)


def _to_plain(tree: Tree, tensors: dict[str, Tensor], names: dict[int, str]) -> Any:
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Tensor):
        order = sorted(range(tree.ndim), key=tree.stride, reverse=True)
        name = names.setdefault(id(tree), str(len(names)))
        if name not in tensors:
            tensors[name] = tree.detach().cpu().permute(order).clone(memory_format=torch.contiguous_format)
        return {"tensor": [name, order]}
    if isinstance(tree, Mapping):
        kind = "counter" if isinstance(tree, Counter) else "dict"
        return {kind: [[_to_plain(part, tensors, names) for part in pair] for pair in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [_to_plain(part, tensors, names) for part in tree]}
    raise TypeError(f"cannot be packed: {type(tree).__name__}")


def _from_plain(node: Any, tensors: Mapping[str, Tensor]) -> Tree:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        name, order = content
        return tensors[name].permute([order.index(dimension) for dimension in range(len(order))])
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](_from_plain(part, tensors) for part in content)
    pairs = ((_from_plain(key, tensors), _from_plain(value, tensors)) for key, value in content)
    return _MAPPINGS[kind](dict(pairs))


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of all that is stored: against damage, not against forgery."""
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), total)
        if tensor.numel():
            total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
