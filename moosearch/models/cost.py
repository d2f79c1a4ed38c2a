"""What a deployed network costs: FLOPs, parameters, latency."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_flops(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Count the floating-point operations of one image, by torch's counter.

    It counts convolutions and matrix products, a multiply-accumulate as two; element-wise operations
    are free.

    Args:
        network: A deployed network on any device.
        shape: (C, H, W) of an image.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape, device=device))
    return int(counter.get_total_flops())


def count_parameters(network: nn.Module) -> int:
    """Count the trainable numbers of a deployed network."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure_latency(network: nn.Module, shape: tuple[int, int, int], *, batch: int, repeats: int) -> float:
    """Measure the inference time of a batch.

    Args:
        network: A deployed network on the device to measure.
        shape: (C, H, W) of an image.
        batch: Images at a time.
        repeats: Timed passes after a fifth as many (at least 3) for warming up.

    Returns:
        The median, in milliseconds.
    """
    device = next(network.parameters()).device
    x = torch.zeros(batch, *shape, device=device)
    network.eval()
    times = []
    with torch.inference_mode():
        for index in range(-max(3, repeats // 5), repeats):
            start = time.perf_counter()
            network(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if index >= 0:
                times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
