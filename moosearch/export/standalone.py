"""A network as a source file that needs torch alone: written from the program that torch.export traced."""

import inspect
import math
import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from moosearch.errors import ExportError
from moosearch.export import reader

CONSTANT_NUMBERS = 4096
"""Numbers of a constant that is no weight: so many are written into the source file."""

LINE = 100
"""Characters of a line, beyond which its arguments stand on one of their own."""

_NAMES = "xyzuvwabcdefghpqrst"
_PASSED_OVER = ("aten._assert_tensor_metadata.default",)
"""Checks of what tracing assumed, a device among it."""

_FILE = '''\
"""The network of this folder as plain torch operations; it needs torch and nothing else.

    from network import CLASSES, load

    net = load()  # or load(folder, device="cuda")
    logits = net(images)  # (batch, {shape}) float32 pixels in [0, 1] -> (batch, {count})

Normalization is inside. Written by moosearch; `weights.safetensors` holds the numbers.
"""

import json
import math
{modules}from pathlib import Path

import torch
from torch import nn

SHAPE = ({shape})
"""Channels, height and width of an image."""

CLASSES = {classes}
"""Names of the classes, in the order of the logits."""

TENSORS = {{
{tensors}
}}
"""The network's tensors: name in `weights.safetensors`, type, shape."""

aten = torch.ops.aten


class Network(nn.Module):
    """Images to logits, in evaluation mode; its parameters ask for no gradient until they are told to."""

    def __init__(self, tensors):
        super().__init__()
        for attribute, (name, _, _) in TENSORS.items():
            if attribute.startswith("p_"):
                self.register_parameter(attribute, nn.Parameter(tensors[name], requires_grad=False))
            else:
                self.register_buffer(attribute, tensors[name])
{constants}        self.eval()

    def forward(self, images):
        """(batch, {shape}) float32 pixels in [0, 1] -> (batch, {count}) logits."""
        if images.dtype != torch.float32 or images.ndim != 4 or tuple(images.shape[1:]) != SHAPE:
            raise ValueError(
                f"got {{images.dtype}} images of shape {{tuple(images.shape)}}, "
                "expected torch.float32 pixels in [0, 1] of shape (batch, {shape})"
            )
{lines}


{reader}

def load(folder=None, device="cpu"):
    """Return the network with the weights of a folder, this file's own if none is given.

    Raises:
        ValueError: The weights are damaged, or another network's.
    """
    path = Path(folder or Path(__file__).parent) / "weights.safetensors"
    tensors = read_tensors(path)
    for name, kind, shape in TENSORS.values():
        if name not in tensors:
            raise ValueError(f"{{path}}: {{name}} is missing: these are not the weights of this network")
        found = str(tensors[name].dtype).removeprefix("torch."), tuple(tensors[name].shape)
        if found != (kind, shape):
            raise ValueError(f"{{path}}: {{name}} is {{found}}, expected {{(kind, shape)}}")
    return Network(tensors).to(device)
'''


def network_source(program: ExportedProgram, classes: tuple[str, ...]) -> str:
    """Write a traced network as the source of a Python module with ``load(folder, device)``.

    The module reads ``weights.safetensors`` itself and calls torch's operators in the order of the trace;
    the batch size is free where it was in the trace.

    Args:
        program: (batch, C, H, W) float32 images -> (batch, K) logits, traced in eval mode.
        classes: Names of the classes.

    Raises:
        ExportError: The network does what cannot be written so.
    """
    signature = program.graph_signature
    if len(signature.user_outputs) != 1:
        raise ExportError("the network gives more than logits.")
    attributes: dict[str, tuple[str, Tensor]] = {}
    constants: dict[str, Tensor] = {}
    images = ""
    used = {node.name for node in program.graph.nodes if node.users}
    for spec in signature.input_specs:
        name = spec.arg.name
        stored = spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.persistent is not False
        if spec.kind == InputKind.USER_INPUT:
            images = name
        elif name not in used:
            continue
        elif stored:
            attributes[name] = str(spec.target), program.state_dict[str(spec.target)]
        elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            constants[name] = program.constants[str(spec.target)]
        else:
            raise ExportError(f"the network takes a {spec.kind.name.lower()}, which no source file holds.")
    values = {name: f"self.{name}" for name in (*attributes, *constants)} | {images: "images"}
    lines, modules = _body(program.graph, values)
    shape = next(node.meta["val"].shape[1:] for node in program.graph.nodes if node.name == images)
    return _FILE.format(
        shape=", ".join(str(int(size)) for size in shape),
        count=len(classes),
        classes=_tuple(classes),
        modules="".join(f"import {module}\n" for module in modules if module != "math"),
        tensors="\n".join(
            f"    {name!r}: {(target, str(tensor.dtype).removeprefix('torch.'), tuple(tensor.shape))},"
            for name, (target, tensor) in attributes.items()
        ),
        constants="".join(f"        {_constant(name, tensor)}\n" for name, tensor in constants.items()),
        lines="\n".join(f"        {line}" for line in lines),
        reader=inspect.getsource(reader.read_tensors),
    )


def _body(graph: fx.Graph, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the lines of ``forward``, and the modules of the standard library that they need.

    A name is used again as soon as its value is not, so that memory is given back as in the network itself.
    """
    names, free = dict(values), list(reversed(_NAMES))
    spare = (f"x{number}" for number in range(1, len(graph.nodes)))
    left: Counter[fx.Node] = Counter()
    for node in graph.nodes:
        left.update(dict.fromkeys(node.all_input_nodes, 1))
    lines, modules, place = [], set(), ""
    for node in graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "output":
            lines.append(f"return {names[node.args[0][0].name]}")
            continue
        if node.op != "call_function":
            raise ExportError(f"the network runs {node.target}, a network of its own within it.")
        left.subtract(node.all_input_nodes)
        if str(node.target) in _PASSED_OVER:
            call = ""
        else:
            call, module = _call(node, names)
            modules |= {module} - {""}
        over = [n for n in node.all_input_nodes if left[n] == 0 and n.name not in values and n.name in names]
        free.extend(names.pop(n.name) for n in reversed(over))
        if not call:
            continue
        where = _place(node)
        if where != place:
            lines.append(f"# {where}")
            place = where
        names[node.name] = free.pop() if free else next(spare)
        line = f"{names[node.name]} = {call}"
        if len(line) > LINE:
            line = line.replace("(", "(\n            ", 1).removesuffix(")") + "\n        )"
        lines.append(line)
        if not node.users:
            free.append(names.pop(node.name))
    return lines, sorted(modules)


def _place(node: fx.Node) -> str:
    """Name the layer that an operation comes from: its path and class; neither is the user's text."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else kind.__name__
    return " ".join(f"{path} {kind.rpartition('.')[2]}".split()) or "network"


def _call(node: fx.Node, names: Mapping[str, str]) -> tuple[str, str]:
    """Return an operation as an expression, and the module that it needs."""
    target = node.target
    arguments = [_literal(argument, names) for argument in node.args]
    keywords = [f"{key}={_literal(value, names)}" for key, value in node.kwargs.items()]
    together = ", ".join([*arguments, *keywords])
    if isinstance(target, torch._ops.OpOverload) and target.namespace in ("aten", "prims"):
        return f"{'' if target.namespace == 'aten' else 'torch.ops.'}{target}({together})", ""
    if target is operator.getitem:
        return f"{arguments[0]}[{arguments[1]}]", ""
    name = getattr(target, "__name__", "")
    for module in (operator, math):
        if name and getattr(module, name, None) is target:
            return f"{module.__name__}.{name}({together})", module.__name__
    if name and getattr(torch, name, None) is target:
        return f"torch.{name}({together})", ""
    raise ExportError(f"the network calls {target}, which torch alone does not have as a plain operator.")


def _literal(value: Any, names: Mapping[str, str]) -> str:
    """Return an argument as source."""
    if isinstance(value, fx.Node):
        return names[value.name]
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(each, names) for each in value)}]"
    if isinstance(value, torch.device):
        return "images.device"
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value)
    raise ExportError(f"the network passes {value!r} to an operator, which cannot be written as source.")


def _constant(name: str, tensor: Tensor) -> str:
    if tensor.numel() > CONSTANT_NUMBERS:
        raise ExportError(
            f"the network holds a constant of {tensor.numel():,} numbers that is not among its weights; "
            "register it as a persistent buffer."
        )
    numbers = _literal(tensor.reshape(-1).tolist(), {})
    tensor_source = f"torch.tensor({numbers}, dtype={tensor.dtype}).reshape({tuple(tensor.shape)})"
    return f"self.register_buffer({name!r}, {tensor_source}, persistent=False)"


def _tuple(texts: tuple[str, ...]) -> str:
    inside = "".join(f"    {text!r},\n" for text in texts)
    return repr(texts) if len(repr(texts)) < 90 else f"(\n{inside})"
