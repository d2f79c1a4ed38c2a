"""Training steps of many networks, each in a process that may die of it; `sweep.py` starts it.

Reads configurations as JSON from standard input, and writes a line with what came of each.
"""

import copy
import importlib
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moosearch.attacks import ATTACKS, Attack
from moosearch.data import Split, Task
from moosearch.losses import LOSSES, Loss
from moosearch.models import ARCHITECTURES, Architecture, RobustNet, architecture, build_network
from moosearch.registry import build
from moosearch.training import CandidateSpec
from moosearch.training.numerics import NumericsSpec
from moosearch.training.spec import TrainingSpec

training = importlib.import_module("moosearch.training.train")
CLASSES = tuple(map(str, range(10)))
TASKS = (Task.main(CLASSES), Task("odd_even", ("even", "odd"), tuple(label % 2 for label in range(10))))
SECONDS = 60
"""CPU time after which a network counts as hung."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Noise:
    """A dataset of random images, as far as a training asks for one."""

    shape: tuple[int, int, int]
    tasks: tuple[Task, ...] = TASKS
    auxiliary: tuple[str, ...] = ("odd_even",)


def images(size: int, count: int) -> Split:
    """Return random images with random labels."""
    generator = torch.Generator().manual_seed(count)
    x = torch.rand(count, 1, size, size, generator=generator)
    return Split(x, torch.randint(10, (count,), generator=generator))


def steps(config: dict[str, Any]) -> str:
    """Take a step with MOREL and mixed perturbation on batches of all sizes; return a fault."""
    spec = CandidateSpec(
        Noise((1, config["size"], config["size"])),
        build(Annotated[Architecture, ARCHITECTURES], config["architecture"]),
        TrainingSpec(
            batch_size=max(2, *config["batches"]),
            attack=build(Annotated[Attack, ATTACKS], {"name": "mixed", "eps": 0.1, "step": 0.05, "steps": 1}),
            loss=build(Annotated[Loss, LOSSES], {"name": "morel"}),
            numerics=NumericsSpec(config["precision"], config["layout"]),
        ),
    )
    trainer = training.Trainer(spec, images(config["size"], sum(config["batches"])), seed=0)
    for count in config["batches"]:
        batch = images(config["size"], count)
        trainer.step(batch.x, batch.y)
    return trainer.fault


def gradient_error(config: dict[str, Any]) -> float:
    """Return the largest relative error of a weight's gradient in a backward pass, against float64.

    Batch statistics are those of eval mode, so that rounding is not amplified.
    """
    net = build_network(
        build(Annotated[Architecture, ARCHITECTURES], config["architecture"]),
        (1, config["size"], config["size"]),
        TASKS[:1],
        seed=0,
    ).eval()
    batch, low = images(config["size"], config["batches"][0]), PRECISIONS[config["precision"]]
    layout = torch.channels_last if config["layout"] == "channels_last" else torch.contiguous_format

    def gradients(net: RobustNet, x: Tensor) -> list[Tensor]:
        lowered = low == torch.bfloat16 and x.dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lowered):
            logits = net(x)
        F.cross_entropy(logits, batch.y).backward()  # type: ignore[no-untyped-call]
        return [p.grad.double() for p in net.parameters() if p.grad is not None and p.ndim == 4]

    exact = gradients(copy.deepcopy(net).double(), batch.x.double())
    found = gradients(net.to(memory_format=layout), batch.x.contiguous(memory_format=layout))
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True) if b.norm() > 0)


def row(config: dict[str, Any]) -> dict[str, Any]:
    """Return what came of a configuration."""
    try:
        return {"fault": steps(config), "gradient_error": gradient_error(config)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Work on the configurations, each in a copy of this process, and write a line for each."""
    torch.set_num_threads(1)
    told = json.loads(sys.stdin.read())
    if told["old"]:  # as it was before strided 1x1 convolutions were subsampled and kernels checked
        architecture.subsampled = lambda trunk: trunk
        training.fault = lambda _: ""
    for config in told["configs"]:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            print(json.dumps(row(config)), flush=True)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            hung = -code in (signal.SIGXCPU, signal.SIGKILL)
            print(json.dumps({"died": "hung" if hung else signal.Signals(-code).name}), flush=True)


if __name__ == "__main__":
    main()
