"""Our own side of the comparison: the only file here that knows how moosearch trains."""

import itertools

from setting import LR, MOMENTUM, WEIGHT_DECAY, Pass, Setting

from moosearch.attacks import Attack
from moosearch.attacks.gradient import Pgd
from moosearch.attacks.multitask import Mixed
from moosearch.losses import Loss
from moosearch.losses.classification import CrossEntropy, Mart, Trades
from moosearch.losses.morel import Morel
from moosearch.seeding import torch_generator
from moosearch.training.numerics import NumericsSpec
from moosearch.training.spec import CandidateSpec, OptimizerSpec, TrainingSpec
from moosearch.training.train import Trainer

FP32 = NumericsSpec(precision="fp32")
FAST = NumericsSpec()


def _train(setting: Setting, attack: Attack, loss: Loss, numerics: NumericsSpec) -> Pass:
    optimizer = OptimizerSpec(
        lr=LR, momentum=MOMENTUM, nesterov=False, weight_decay=WEIGHT_DECAY, schedule="constant"
    )
    training = TrainingSpec(
        epochs=1000,
        batch_size=setting.batch,
        attack=attack,
        loss=loss,
        optimizer=optimizer,
        numerics=numerics,
    )
    trainer = Trainer(CandidateSpec(setting.dataset, setting.architecture, training), setting.images, seed=0)
    numbers, order = itertools.count(1), torch_generator(0)
    return lambda: trainer.epoch(next(numbers), setting.images, order)


def _pgd(setting: Setting) -> Pgd:
    return Pgd(eps=setting.eps, step=setting.step, steps=setting.steps)


def _kl(setting: Setting) -> Pgd:
    return Pgd(eps=setting.eps, step=setting.step, steps=setting.steps, objective="kl", random_start=False)


def sta(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return adversarial training with PGD on the main task."""
    return _train(setting.single_task(), _pgd(setting), CrossEntropy(), numerics)


def mp(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return training with Mixed Perturbation on three tasks."""
    attack = Mixed(eps=setting.eps, step=setting.step, steps=setting.steps)
    return _train(setting, attack, CrossEntropy(), numerics)


def trades(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return TRADES."""
    return _train(setting.single_task(), _kl(setting), Trades(), numerics)


def mart(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return MART."""
    return _train(setting.single_task(), _pgd(setting), Mart(), numerics)


def morel_trades(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return MOREL<-TRADES."""
    return _train(setting.single_task(), _kl(setting), Morel(base=Trades()), numerics)


def morel_mart(setting: Setting, *, numerics: NumericsSpec = FAST) -> Pass:
    """Return MOREL<-MART."""
    return _train(setting.single_task(), _pgd(setting), Morel(base=Mart()), numerics)
