"""How weights move: optimizer, learning-rate schedule, moving average."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from moosearch.training.spec import OptimizerSpec

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(modules: Iterable[nn.Module], spec: OptimizerSpec) -> Optimizer:
    """Return the optimizer of all parameters; weight decay is for tensors of two or more dimensions."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.kind == "adamw":
        return AdamW(groups, lr=spec.lr)
    nesterov = spec.nesterov and spec.momentum > 0
    return SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov)


def make_schedule(optimizer: Optimizer, spec: OptimizerSpec, *, epochs: int, steps: int) -> LRScheduler:
    """Return the learning-rate schedule over ``epochs`` of ``steps`` optimizer steps each."""
    total = epochs * steps
    if spec.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=total)
    if spec.schedule == "one_cycle":
        # One step more than is taken: the scheduler refuses to be stepped past its end.
        return OneCycleLR(optimizer, max_lr=spec.lr, total_steps=total + 1, cycle_momentum=False)
    if spec.schedule == "step":
        milestones = [round(share * epochs) * steps for share in spec.milestones]
        return MultiStepLR(optimizer, milestones, gamma=spec.decay)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


def make_average(net: nn.Module, decay: float) -> AveragedModel | None:
    """Return an exponential moving average of weights and statistics, or None where the decay is 0.

    After t steps the decay is at most (1 + t) / (10 + t), so that a short training is not judged by the
    weights that it started with.
    """
    if decay == 0:
        return None

    def step(averages: Tensors, values: Tensors, done: Tensor | int) -> None:
        now = min(decay, (1 + int(done)) / (10 + int(done)))
        get_ema_multi_avg_fn(now)(averages, values, done)  # type: ignore[no-untyped-call]

    return AveragedModel(net, multi_avg_fn=step, use_buffers=True)
