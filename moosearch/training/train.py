"""Adversarial training of one candidate: perturb, one forward pass on each kind of image, loss, step."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moosearch.attacks import perturb
from moosearch.attacks.gradient import Pgd
from moosearch.data import Split, labels_of, rightly_classified
from moosearch.errors import DivergedError
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.models import RobustNet
from moosearch.models.frozen import InferenceCopy
from moosearch.models.kernels import CHECKED_IMAGES, fault
from moosearch.models.parts import Still
from moosearch.seeding import derive_seed, seeded_torch, torch_generator
from moosearch.training.numerics import Numerics
from moosearch.training.optimizer import make_average, make_optimizer, make_schedule
from moosearch.training.regularization import differentiated_twice, penalties
from moosearch.training.spec import CandidateSpec
from moosearch.training.state import Tree

State = dict[str, Tensor]


@dataclass(frozen=True)
class Epoch:
    """A row of the training history: means over the epoch, on adversarial training images.

    Attributes:
        epoch: From 1.
        epochs: How many there will be.
        lr: Learning rate of its last step.
        loss: Total loss, auxiliary tasks included.
        robust_accuracy: Share of training images classified rightly as they were perturbed.
        parts: What the loss consists of, by name.
        validation: ``clean_accuracy`` and ``robust_accuracy`` on validation images; empty where this epoch
            was not validated.
        scheduled: The numbers that schedules gave this epoch, by path.
    """

    epoch: int
    epochs: int
    lr: float
    loss: float
    robust_accuracy: float
    parts: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    scheduled: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float]:
        """Return the row of a table."""
        own = {"epoch": self.epoch, "lr": self.lr, "loss": self.loss, "robust_accuracy": self.robust_accuracy}
        groups = {"scheduled": self.scheduled, "loss": self.parts, "validation": self.validation}
        return own | {f"{group}_{key}": value for group, row in groups.items() for key, value in row.items()}


@dataclass(frozen=True)
class Trained:
    """What comes out of a training.

    Attributes:
        net: The network at the checkpoint that the spec asks for, in eval mode.
        history: A row an epoch.
        states: Weights by checkpoint: ``last``, and ``best`` where there was a validation. Scheduled numbers
            of defenses are among the buffers, as they were in the checkpoint's epoch: what was validated is
            what is judged and exported.
        best: Epoch of the best checkpoint, from 1; the last one where there was no validation.
        checkpoint: The one that the spec asks for.
        precision: In which it was trained: ``float32`` or ``bfloat16``.
        fault: What this machine would have computed wrongly in the precision and layout that were asked for,
            so that it was trained contiguous in float32; empty if nothing.
    """

    net: RobustNet
    history: list[Epoch]
    states: Mapping[str, State]
    best: int
    checkpoint: str
    precision: str
    fault: str = ""

    @property
    def other(self) -> str:
        """The checkpoint that the spec does not ask for."""
        return "last" if self.checkpoint == "best" else "best"


class Trainer:
    """A network with everything that a training step needs."""

    def __init__(self, spec: CandidateSpec, images: Split, *, seed: int, parts: int = 1) -> None:
        """Build and initialize the network.

        Args:
            spec: The candidate.
            images: Training images, on the device to train on.
            seed: Decides initialization and every random number of a step.
            parts: In how many parts the trunk is run to save memory, a power of two: it changes results by
                rounding alone.
        """
        training, self.device = spec.training, images.x.device
        self.spec, self.training, self.tasks, self.seed = spec, training, spec.dataset.tasks, seed
        epochs = [spec.at(number) for number in range(1, training.epochs + 1)]
        self.net = spec.build_network(derive_seed(seed, "initialization"))
        self.net.normalize.fit(*(moment.cpu() for moment in images.moments()))
        self.net.to(self.device).train()
        self.net.parts = parts  # before it is copied
        self.penalties = dict.fromkeys(p for now in epochs for p in now.training.regularization.penalties)
        attacked = training.attack.mode == "eval" and any(now.training.attack.eps > 0 for now in epochs)
        self._lay_out(training.numerics.on(self.device, spec.dataset.shape), attacked=attacked)
        self.fault = self._fault(len(images))
        if self.fault:
            self._lay_out(self.numerics.plain, attacked=attacked)
        with seeded_torch(derive_seed(seed, "criterion")):
            self.criterion = training.loss.criterion(self.net.features).to(self.device)
        self.average = make_average(self.net, training.average)
        if training.numerics.compile and parts == 1:
            torch.compiler.reset()  # what earlier candidates of this process compiled counts against a limit
            self.net.trunk.compile()
            if self.frozen is not None:
                self.frozen.trunk.compile()
        self.noise = torch_generator(derive_seed(seed, "attack"), self.device)
        self.variation = torch_generator(derive_seed(seed, "augmentation"), self.device)
        self.optimizer = make_optimizer((self.net, self.criterion), training.optimizer)
        steps = images.steps(training.batch_size)
        self.schedule = make_schedule(self.optimizer, training.optimizer, epochs=training.epochs, steps=steps)
        self.steps = training.epochs * steps
        self.done = 0
        self.now, self.smoothing = spec, 0.0
        self.begin(1)

    def _lay_out(self, numerics: Numerics, *, attacked: bool) -> None:
        """Take a precision and a layout, and copy the network to where it is attacked."""
        self.numerics = numerics
        self.net.to(memory_format=numerics.memory_format)
        self.frozen = (
            InferenceCopy(self.net, dtype=numerics.dtype, memory_format=numerics.memory_format)
            if attacked
            else None
        )

    def _fault(self, images: int) -> str:
        """Say what of a training step this machine would compute wrongly; empty if nothing.

        Args:
            images: Training images.
        """
        if self.numerics == self.numerics.plain:
            return ""
        rest = images % self.training.batch_size
        most = max(2, CHECKED_IMAGES // self.net.parts)
        sizes = {min(size, most) for size in (self.training.batch_size, images, rest) if size > 1}
        return next(filter(None, (fault(partial(self._passes, size)) for size in sorted(sizes))), "")

    def _passes(self, size: int) -> None:
        """Run the passes through the trunk that a step has, and leave no trace of them."""
        trunk, spec = self.net.trunk, self.spec
        devices = [self.device] if self.device.type == "cuda" else []
        x = torch.zeros(size, *spec.dataset.shape, device=self.device, requires_grad=True)
        x = x.contiguous(memory_format=self.numerics.memory_format)
        inputs = [x, *trunk.parameters()]
        with Still([trunk]), torch.random.fork_rng(devices):
            with self.numerics.autocast():
                features = trunk(x)
            _differentiate(features.sum(), inputs)
            if self.frozen is not None:
                _differentiate(self.frozen.trunk(x).sum(), [x])
            if self.penalties:
                with differentiated_twice():
                    slopes = _differentiate(trunk(x).sum(), [x], create_graph=True)
                    _differentiate(sum(slope.square().sum() for slope in slopes), inputs)

    @property
    def judged(self) -> RobustNet:
        """The network whose weights count: the average, where there is one."""
        if self.average is None:
            return self.net
        averaged: RobustNet = self.average.get_submodule("module")  # type: ignore[assignment]
        return averaged

    def begin(self, number: int) -> None:
        """Take the numbers of an epoch, from 1: those of attack, loss, regularization and defenses."""
        before, now = self.now.training, self.spec.at(number)
        smoothing = now.training.regularization.label_smoothing
        if (now.training.loss, smoothing) != (before.loss, self.smoothing):
            self.criterion.follow(now.training.loss, smoothing=smoothing)
        if self.training.schedules:
            for net in dict.fromkeys((self.net, self.judged)):
                now.defenses.follow(net.guard, net.trunk)
        self.now, self.smoothing = now, smoothing
        self.directions = torch_generator(derive_seed(self.seed, f"projections, epoch {number}"), self.device)

    def perturb(self, x: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
        """Perturb (B, C, H, W) training images."""
        attack = self.now.training.attack
        if self.frozen is None:
            with self.numerics.autocast():
                return perturb(attack, self.net, x, labels, generator=self.noise)
        if attack.eps == 0:  # a schedule has not opened the ball yet
            return x
        self.frozen.refresh()
        return perturb(attack, self.frozen, x, labels, generator=self.noise)

    def penalize(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Add the gradients of the penalties, before those of the loss: so their graphs need not fit at once.

        Returns:
            The weighted penalties by name, without a graph; 0 in an epoch in which a weight is.
        """
        found = dict.fromkeys(self.penalties, torch.zeros((), device=self.device))
        if self.now.training.regularization.penalties:
            spec = self.now.training.regularization
            with differentiated_twice():
                terms = penalties(self.net, x, y, spec, generator=self.directions)
                torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            found |= {name: term.detach() for name, term in terms.items()}
        return found

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Train on one batch.

        Args:
            x: (B, C, H, W) images in [0, 1].
            y: (B,) main labels.

        Returns:
            The loss, the number of images classified rightly as they were perturbed, and the parts of the
            loss: scalars on the device.
        """
        training, labels = self.training, labels_of(self.tasks, y)
        x = training.augmentation(x, self.variation).contiguous(memory_format=self.numerics.memory_format)
        x_adv = self.perturb(x, labels)
        self.optimizer.zero_grad()
        added = self.penalize(x, labels[0])
        with self.numerics.autocast():
            clean = self.net.outputs(x) if training.loss.needs_clean else None
            adversarial = self.net.outputs(x_adv)
        terms = self.criterion(clean, adversarial, labels, progress=self.done / self.steps)
        loss, parts = terms.total, dict(terms.parts)
        if len(labels) > 1:
            losses = [
                F.cross_entropy(logits, label, label_smoothing=self.smoothing)
                for logits, label in zip(adversarial.logits[1:], labels[1:], strict=True)
            ]
            auxiliary = training.auxiliary_weight * torch.stack(losses).sum()
            loss, parts["auxiliary"] = loss + auxiliary, auxiliary.detach()
        if training.task_losses == "mean":
            loss = loss / len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, penalty in added.items():
            loss, parts[name] = loss.detach() + penalty, penalty
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        self.done += 1
        correct = rightly_classified(adversarial.logits[0].detach(), y).sum()
        return loss.detach(), correct, parts

    def epoch(self, number: int, images: Split, order: torch.Generator) -> Epoch:
        """Train on all images once.

        Raises:
            DivergedError: The loss is not finite.
        """
        total, correct, seen = torch.zeros((), device=self.device), torch.zeros((), device=self.device), 0
        parts: dict[str, Tensor] = {}
        self.begin(number)
        self.net.train()
        with seeded_torch(derive_seed(self.seed, f"layers, epoch {number}"), self.device):
            for batch in images.batches(self.training.batch_size, order):
                lr = float(self.schedule.get_last_lr()[0])
                loss, right, terms = self.step(batch.x, batch.y)
                total += loss * len(batch)
                correct += right
                for name, value in terms.items():
                    parts[name] = parts.get(name, 0) + value * len(batch)
                seen += len(batch)
        mean = float(total) / seen
        if not torch.isfinite(total):
            raise DivergedError(f"the training loss is {mean} in epoch {number}: diverged")
        means = {name: float(value) / seen for name, value in parts.items()}
        scheduled = self.spec.scheduled(number)
        accuracy = float(correct) / seen
        return Epoch(number, self.training.epochs, lr, mean, accuracy, means, scheduled=scheduled)

    def state(self) -> Tree:
        """Return all that the next steps depend on; the inference copy follows the network."""
        return {
            **{name: module.state_dict() for name, module in self._modules().items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "noise": self.noise.get_state(),
            "variation": self.variation.get_state(),
            "done": self.done,
        }

    def load(self, state: Tree) -> None:
        """Go on where `state` was called."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.noise.set_state(state["noise"])
        self.variation.set_state(state["variation"])
        self.done = state["done"]

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"net": self.net, "criterion": self.criterion, "average": self.average}
        return {name: module for name, module in modules.items() if module is not None}

    def validate(self, images: Split) -> dict[str, float]:
        """Return clean and robust accuracy on validation images, in float32.

        The ball is the spec's in every epoch, whatever its schedule says: epochs are compared by it.
        """
        validation, attack = self.training.validation, self.training.attack
        some = images.first(validation.images)
        judge = Pgd(
            eps=attack.eps,
            step=2.5 * attack.eps / validation.steps or 1.0,
            steps=validation.steps,
            norm=attack.norm,
        )
        net = self.judged.eval()
        right = correct_under(net, some, self.tasks, [judge], seed=derive_seed(self.seed, "validation"))
        return {"clean_accuracy": fraction(correct_clean(net, some)), "robust_accuracy": fraction(right)}


def _differentiate(
    total: Tensor | int, inputs: Sequence[Tensor], *, create_graph: bool = False
) -> list[Tensor]:
    """Return the gradients of what a number depends on; a trunk of a user's own may depend on nothing."""
    if not isinstance(total, Tensor) or not total.requires_grad:
        return []
    found = torch.autograd.grad(total, inputs, create_graph=create_graph, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


class Training:
    """The training of a candidate, epoch by epoch; after any of them it can be left, and gone on with."""

    def __init__(
        self,
        spec: CandidateSpec,
        images: Split,
        validation: Split | None = None,
        *,
        seed: int,
        parts: int = 1,
    ) -> None:
        """Prepare the first epoch.

        Args:
            spec: The candidate.
            images: Training images, on the device to train on.
            validation: Validation images, on the same device; None for no best checkpoint.
            seed: Decides initialization, order of images and every random number of the attacks.
            parts: In how many parts the trunk is run to save memory, a power of two; in validation too, and
                by the network that comes out.
        """
        self._spec, self._images, self._validation = spec, images, validation
        self._trainer = Trainer(spec, images, seed=seed, parts=parts)
        self._order = torch_generator(derive_seed(seed, "order"))
        self._history: list[Epoch] = []
        self._best: State = {}
        self._best_epoch, self._highest = spec.training.epochs, -1.0

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done."""
        return len(self._history) == self._spec.training.epochs

    def epoch(self) -> Epoch:
        """Train on all images once more, validate where it is time to, and return the row of the history.

        Raises:
            DivergedError: The loss is not finite.
        """
        number, every = len(self._history) + 1, self._spec.training.validation.every
        epoch = self._trainer.epoch(number, self._images, self._order)
        due = every and (number % every == 0 or number == self._spec.training.epochs)
        if self._validation is not None and due:
            accuracies = self._trainer.validate(self._validation)
            epoch = dataclasses.replace(epoch, validation=accuracies)
            if accuracies["robust_accuracy"] > self._highest:
                self._best_epoch, self._highest = number, accuracies["robust_accuracy"]
                self._best = _state(self._trainer.judged)
        self._history.append(epoch)
        return epoch

    def trained(self) -> Trained:
        """Return what comes out after the last epoch."""
        training, trainer = self._spec.training, self._trainer
        states = {"best": self._best} if self._best else {}
        states["last"] = _state(trainer.judged)
        net = self._spec.build_network(seed=0).to(trainer.device)
        net.load_state_dict(states.get(training.checkpoint, states["last"]))
        net.parts = trainer.net.parts
        precision = str(trainer.numerics.dtype).removeprefix("torch.")
        return Trained(
            net.eval(), self._history, states, self._best_epoch, training.checkpoint, precision, trainer.fault
        )

    def state(self) -> Tree:
        """Return all that the next epochs depend on. Tensors are those that training changes: pack them."""
        return {
            "trainer": self._trainer.state(),
            "order": self._order.get_state(),
            "history": [vars(epoch) for epoch in self._history],
            "best": self._best,
            "best_epoch": self._best_epoch,
            "highest": self._highest,
        }

    def load(self, state: Tree) -> None:
        """Go on where a training of the same spec, images and seed was when its `state` was called."""
        self._trainer.load(state["trainer"])
        self._order.set_state(state["order"])
        self._history = [Epoch(**row) for row in state["history"]]
        self._best = {name: tensor.to(self._trainer.device) for name, tensor in state["best"].items()}
        self._best_epoch, self._highest = state["best_epoch"], state["highest"]


def train(spec: CandidateSpec, images: Split, validation: Split | None = None, *, seed: int) -> Trained:
    """Train a candidate from scratch to the end; see `Training`."""
    training = Training(spec, images, validation, seed=seed)
    while not training.finished:
        training.epoch()
    return training.trained()


def _state(net: RobustNet) -> State:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
