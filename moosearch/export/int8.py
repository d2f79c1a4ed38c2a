"""An export in 8-bit integers, judged for itself: quantization changes what a network withstands.

Rounding has no gradient, and an attack that finds none says nothing. So the quantized network is attacked in
two ways: by the campaign's attacks with its own logits and the gradients of the network that it was made
from, and with the images that fool that network. What counts is the worst case of both.

Source: Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security: backward pass differentiable
approximation.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moosearch.data import Split, Task
from moosearch.errors import ExportError
from moosearch.export.programs import quiet
from moosearch.judging.measure import batch_size, copy_of, correct_clean, unheard, withstood
from moosearch.judging.record import attack_tree, share
from moosearch.models import RobustNet
from moosearch.models.network import Outputs
from moosearch.training import Objective, key_of
from moosearch.training.objectives import RobustAccuracy

CALIBRATION = 512
"""Training images from which the ranges of activations are taken, evenly spread over the split."""

CALIBRATION_BATCH = 32

MULTIPLYING = ("Conv", "Gemm", "MatMul")
"""ONNX operators of the layers that hold nearly all of the work."""


def write_int8(source: Path, target: Path, train: Split) -> dict[str, Any]:
    """Quantize an ONNX file: weights by channel, activations by the range they take on training images.

    Input and output stay float32.

    Args:
        source: The ONNX file.
        target: The file to write.
        train: Training images.

    Returns:
        How it was made: ``method`` and ``calibration_images``.

    Raises:
        ExportError: It cannot be quantized.
    """
    rows = torch.linspace(0, len(train) - 1, min(CALIBRATION, len(train))).round().long()
    try:
        with quiet():
            _quantize(source, target, train, rows)
        layers = _quantized_layers(target)
    except Exception as error:  # whatever a foreign operator does to the quantizer
        reason = " ".join(str(error).split()) or repr(error)
        raise ExportError(f"quantize: int8: onnxruntime cannot quantize this network: {reason}") from error
    if not layers:
        raise ExportError(
            f"quantize: int8: this network has no layer that could be quantized ({', '.join(MULTIPLYING)})."
        )
    return {
        "method": "static, QDQ, int8 weights by channel, uint8 activations by tensor (min-max)",
        "layers": layers,
        "calibration_images": len(rows),
    }


def _quantize(source: Path, target: Path, train: Split, rows: Tensor) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(torch.split(rows, CALIBRATION_BATCH))

        def get_next(self) -> dict[str, "np.ndarray[Any, Any]"] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images": train.pixels(batch).cpu().numpy()}

    prepared = target.with_name(f".{target.name}.prepared")
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # signed ones are slower than floats on x86
        )
    finally:
        prepared.unlink(missing_ok=True)


def _quantized_layers(path: Path) -> int:
    """Count the layers whose weights are read as integers."""
    import onnx

    graph = onnx.load(path).graph
    restored = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(node.op_type in MULTIPLYING and node.input[1] in restored for node in graph.node)


class StraightThrough(RobustNet):
    """A quantized network as attacks meet it: its own logits, and the gradients of the float network.

    Features, and logits of auxiliary tasks, are the float network's: the quantized one has none.
    """

    def __init__(self, int8: Callable[[Tensor], Tensor], net: RobustNet) -> None:
        """Stand a float network in for the gradients of a quantized one.

        Args:
            int8: Images -> main logits, without gradient.
            net: The network that it was made from, in eval mode.
        """
        nn.Module.__init__(self)
        self.guard, self.normalize, self.trunk, self.heads = net.guard, net.normalize, net.trunk, net.heads
        self.features = net.features
        self._int8 = int8

    def _through(self, x: Tensor, logits: Tensor) -> Tensor:
        return logits + (self._int8(x) - logits).detach()

    def forward(self, x: Tensor) -> Tensor:
        """Return the main logits: (B, C, H, W) -> (B, K)."""
        return self._through(x, super().forward(x))

    def outputs(self, x: Tensor) -> Outputs:
        """Run the trunk once and every head on it."""
        features, (main, *others) = super().outputs(x)
        return Outputs(features, (self._through(x, main), *others))


def judge_int8(
    int8: Callable[[Tensor], Tensor],
    net: RobustNet,
    val: Split,
    tasks: tuple[Task, ...],
    objectives: Sequence[Objective],
    *,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the accuracies of a quantized network, as the campaign measured those of the float one.

    Args:
        int8: The quantized network: images -> main logits.
        net: The network that it was made from.
        val: Validation images.
        tasks: The dataset's tasks.
        objectives: The campaign's; its robust accuracies are measured.
        seed: Of the attacks, the campaign's.
        progress: Is told the images done.

    Returns:
        ``images``; ``agreement``, the share of images that both networks put into one class; ``clean`` as
        `moosearch.judging.record.share` writes it; and ``robust``: by objective the ``attacks`` and three
        shares: ``adaptive``, ``transferred`` and ``worst_case``, which counts.
    """

    def right_of(x: Tensor, y: Tensor) -> Tensor:
        return _classes(int8, x) == y

    net.eval()
    frozen = copy_of(net, val)
    same, right = [], []
    with torch.no_grad():
        for part in val.batches(batch_size(val)):
            predicted = _classes(int8, part.x)
            same.append(predicted == net(part.x).argmax(dim=1))
            right.append(predicted == part.y)
    clean = torch.cat(right)
    robust = {}
    for objective in objectives:
        if isinstance(objective, RobustAccuracy):
            some, key = val.first(objective.images), key_of(objective)
            marks = {}
            for how, attacked in (("adaptive", StraightThrough(int8, frozen)), ("transferred", frozen)):
                told = partial(progress or unheard, f"{key}, {how}")
                marks[how] = torch.stack(
                    [
                        withstood(right_of, attacked, some, tasks, group, seed=seed, progress=told)
                        for group in objective.groups
                    ]
                )
            marks["worst_case"] = marks["adaptive"] & marks["transferred"]
            trees = [attack_tree(attack) for attack in objective.attacks]
            robust[key] = {"images": len(some), "attacks": trees} | {
                how: _shares(m) for how, m in marks.items()
            }
    return {
        "images": len(val),
        "agreement": share(torch.cat(same)).accuracy,
        "clean": asdict(share(clean)),
        "float_clean": asdict(share(correct_clean(net, val))),
        "robust": robust,
    }


def _shares(marks: Tensor) -> dict[str, Any]:
    """Return the mean share of (G, N) booleans, with its interval where G is 1."""
    if len(marks) == 1:
        found: dict[str, Any] = asdict(share(marks[0]))
        return found
    shares = [share(group) for group in marks]
    return {"accuracy": fmean(each.accuracy for each in shares), "interval": None}


@torch.no_grad()
def _classes(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return network(x).argmax(dim=1)
