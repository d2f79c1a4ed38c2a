"""Adversarial training as other people's code does it, on our networks, in float32.

What differs from one baseline to the next is the scheme: how many passes through the network a step takes,
and for what.
"""

import contextlib
import io
import random
from collections.abc import Iterator
from typing import Literal
from unittest import mock

import torch
import torch.nn.functional as F
from setting import Pass, Setting, sgd
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from moosearch.data import labels_of

Batches = DataLoader[tuple[Tensor, ...]]
Base = Literal["trades", "mart"]


def loader_of(setting: Setting) -> Batches:
    """Return what nearly everybody reads images with."""
    images = setting.images
    return DataLoader(TensorDataset(images.x, images.y), batch_size=setting.batch, shuffle=True)


def plain_loop(setting: Setting) -> Pass:
    """Return what many repositories do: attack by ``loss.backward()`` in train mode, parameters included."""
    net, loader = setting.network().deployed().train(), loader_of(setting)
    optimizer = sgd(net)

    def run() -> None:
        for x, y in loader:
            low, high = (x - setting.eps).clamp(min=0), (x + setting.eps).clamp(max=1)
            x_adv = torch.clamp(x + torch.empty_like(x).uniform_(-setting.eps, setting.eps), low, high)
            for _ in range(setting.steps):
                x_adv.requires_grad_()
                F.cross_entropy(net(x_adv), y).backward()
                x_adv = torch.clamp(x_adv.detach() + setting.step * x_adv.grad.sign(), low, high)
            optimizer.zero_grad()
            F.cross_entropy(net(x_adv), y).backward()
            optimizer.step()

    return run


def art(setting: Setting) -> Pass:
    """Return the adversarial-robustness-toolbox's trainer of Madry et al."""
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    net = setting.network().deployed()
    classifier = PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        optimizer=sgd(net),
        input_shape=setting.dataset.shape,
        nb_classes=10,
        clip_values=(0.0, 1.0),
    )
    trainer = AdversarialTrainerMadryPGD(
        classifier,
        nb_epochs=1,
        batch_size=setting.batch,
        eps=setting.eps,
        eps_step=setting.step,
        max_iter=setting.steps,
    )
    x, y = setting.images.x.numpy(), F.one_hot(setting.images.y, 10).numpy()

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # two progress bars a pass
            trainer.fit(x, y)

    return run


def torchattacks(setting: Setting) -> Pass:
    """Return an ordinary training loop around torchattacks' PGD."""
    from torchattacks import PGD

    net, loader = setting.network().deployed().train(), loader_of(setting)
    optimizer = sgd(net)
    attack = PGD(net, eps=setting.eps, alpha=setting.step, steps=setting.steps)

    def run() -> None:
        for x, y in loader:
            loss = F.cross_entropy(net(attack(x, y)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def mp_three_attacks(setting: Setting) -> Pass:
    """Return Mixed Perturbation as its authors run it: one whole attack after the other, a task each.

    The network is in eval mode and its parameters are frozen while it is attacked; every pass computes all
    heads.

    Source: Hyun & Park 2024, published code (there with one auxiliary task).
    """
    net = setting.network().train()
    encoder, heads = nn.Sequential(net.normalize, net.trunk), net.heads
    optimizer, loader = sgd(net), loader_of(setting)

    def logits_of(x: Tensor) -> list[Tensor]:
        features = encoder(x)
        return [head(features) for head in heads]

    def perturbation(x: Tensor, y: Tensor, task: int) -> Tensor:
        delta = torch.empty_like(x).uniform_(-setting.eps, setting.eps)
        delta = (torch.clamp(x + delta, 0, 1) - x).requires_grad_()
        for _ in range(setting.steps):
            F.cross_entropy(logits_of(x + delta)[task], y, reduction="sum").backward()
            moved = (delta.data + setting.step * delta.grad.sign()).clamp(-setting.eps, setting.eps)
            delta.data = torch.clamp(x + moved, 0, 1) - x
            delta.grad.zero_()
        return delta.detach()

    def run() -> None:
        for x, main in loader:
            labels = labels_of(setting.dataset.tasks, main)
            net.eval().requires_grad_(False)
            eta = [perturbation(x, y, task) for task, y in enumerate(labels)]
            net.train().requires_grad_(True)
            alpha, share = random.uniform(0.5, 1), random.random()
            weights = (alpha, (1 - alpha) * share, (1 - alpha) * (1 - share))
            x_adv = x + sum(weight * part for weight, part in zip(weights, eta, strict=True))
            losses = [F.cross_entropy(z, y) for z, y in zip(logits_of(x_adv), labels, strict=True)]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()

    return run


def authors(setting: Setting, *, base: Base, morel: bool = False) -> Pass:
    """Return TRADES or MART as published by their authors, alone or under MOREL, all from `advermorel`."""
    import advermorel

    attack = {"step_size": setting.step, "epsilon": setting.eps, "perturb_steps": setting.steps, "beta": 6.0}
    whole = setting.network().deployed()
    if morel:
        net = advermorel.morelnet(whole[:-1], whole[-1]).train()
        loss = advermorel.morel_loss
        options = attack | {"k": [0.1, 0.9], "a": [0.0, 0.0], "gamma": 2e-5, "accu_obj": base}
    else:
        net, options = whole.train(), attack
        loss = {"trades": advermorel.trades_loss, "mart": advermorel.mart_loss}[base]
    optimizer, loader = sgd(net), loader_of(setting)

    def run() -> None:
        with _on_the_cpu():
            for x, y in loader:
                optimizer.zero_grad()
                total = loss(net, x, y, optimizer, **options)
                total.backward()
                optimizer.step()

    return run


@contextlib.contextmanager
def _on_the_cpu() -> Iterator[None]:
    """Let advermorel run where there is no CUDA, which it asks for by name."""
    from advermorel.losses.morel import MultiPosConLoss

    published = MultiPosConLoss.forward

    def forward(self: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        self.device = features.device
        return published(self, features, labels)

    with (
        mock.patch.object(MultiPosConLoss, "forward", forward),
        mock.patch.object(torch.Tensor, "cuda", torch.Tensor.cpu),
    ):
        yield
