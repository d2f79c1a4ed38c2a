"""Adversarial training of one candidate: perturb, one forward pass, loss, step."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from moosearch.attacks import perturb
from moosearch.data import Split, labels_of
from moosearch.errors import EvaluationError
from moosearch.models import RobustNet
from moosearch.seeding import derive_seed, torch_generator
from moosearch.training.spec import CandidateSpec, OptimizerSpec


@dataclass(frozen=True)
class Epoch:
    """A row of the training history: means over the epoch, on adversarial training images.

    Attributes:
        epoch: From 1.
        lr: Learning rate of its last step.
        loss: Total loss, auxiliary tasks included.
        robust_accuracy: Share of images classified rightly as they were perturbed.
    """

    epoch: int
    lr: float
    loss: float
    robust_accuracy: float


def train(spec: CandidateSpec, images: Split, *, seed: int) -> tuple[RobustNet, list[Epoch]]:
    """Train a candidate from scratch.

    Args:
        spec: The candidate.
        images: Training images, on the device to train on.
        seed: Decides initialization, order of images and every random number of the attacks.

    Returns:
        The network after the last epoch, in eval mode, and the history.

    Raises:
        EvaluationError: The loss is not finite.
    """
    training, tasks, device = spec.training, spec.dataset.tasks, images.x.device
    net = spec.build_network(derive_seed(seed, "initialization"))
    net.normalize.fit(images.x.cpu())
    net.to(device).train()
    order = torch_generator(derive_seed(seed, "order"))
    noise = torch_generator(derive_seed(seed, "attack"), device)
    optimizer = make_optimizer(net, training.optimizer)
    steps = sum(1 for _ in images.batches(training.batch_size, torch_generator(0)))
    schedule = make_schedule(optimizer, training.optimizer, training.epochs * steps)
    history = []
    for epoch in range(1, training.epochs + 1):
        total = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        seen = 0
        for batch in images.batches(training.batch_size, order):
            labels = labels_of(tasks, batch.y)
            x_adv = perturb(training.attack, net, batch.x, labels, generator=noise)
            clean = net.outputs(batch.x) if training.loss.needs_clean else None
            adversarial = net.outputs(x_adv)
            loss = training.loss(clean, adversarial, labels).total
            for logits, y in zip(adversarial.logits[1:], labels[1:], strict=True):
                loss = loss + training.auxiliary_weight * F.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            lr = float(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                total += loss * len(batch)
                correct += (adversarial.logits[0].argmax(dim=1) == batch.y).sum()
            seen += len(batch)
        row = Epoch(epoch, lr, float(total) / seen, float(correct) / seen)
        if not torch.isfinite(total):
            raise EvaluationError(f"the training loss is {row.loss} in epoch {epoch}: diverged")
        history.append(row)
    return net.eval(), history


def make_optimizer(net: nn.Module, spec: OptimizerSpec) -> Optimizer:
    """Return the optimizer; weight decay is for tensors of two or more dimensions."""
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.kind == "adamw":
        return AdamW(groups, lr=spec.lr)
    return SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.momentum > 0)


def make_schedule(optimizer: Optimizer, spec: OptimizerSpec, steps: int) -> LRScheduler:
    """Return the learning-rate schedule over ``steps`` optimizer steps."""
    if spec.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if spec.schedule == "one_cycle":
        # One step more than is taken: the scheduler refuses to be stepped past its end.
        return OneCycleLR(optimizer, max_lr=spec.lr, total_steps=steps + 1, cycle_momentum=False)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)
