"""Weights read without the library of their format: the source of this function goes into every export."""

import json
import math
from pathlib import Path

import torch


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file: name -> tensor on the CPU.

    Raises:
        ValueError: It is none, or it is damaged.
    """
    kinds = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")  # 8 bytes: length of the header, which is JSON
    if len(data) < 8 or start > len(data):
        raise ValueError(f"{path}: damaged: the header goes beyond the end of the file")
    try:
        header = json.loads(data[8:start].decode())
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        described = [(name, kinds[e["dtype"]], e["shape"], e["data_offsets"]) for name, e in entries]
        tensors = {}
        for name, kind, shape, (begin, end) in described:
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            count = math.prod(shape) if whole else 0
            if not whole or end > len(data) - start or end - begin != count * kind.itemsize:
                raise ValueError(f"{name} does not fit into the file")
            if count:
                tensor = torch.frombuffer(data, dtype=kind, count=count, offset=start + begin)
            else:
                tensor = torch.empty(0, dtype=kind)
            tensors[name] = tensor.reshape(shape).clone()
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: damaged: {error!r}") from None
    return tensors
