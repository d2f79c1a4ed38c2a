"""Campaigns bred by the real NSGA-II on made-up objectives: what each gene does is known."""

import numpy as np

from moosearch.algorithms.algorithm import SearchProblem
from moosearch.algorithms.nsga2 import Nsga2
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.space import Choice, Integer, Real, SearchSpace

NOISE = 0.03
ROBUST = ObjectiveInfo("robust", "maximize", "fraction", 1.0, 0.0)
FLOPS = ObjectiveInfo("flops", "minimize", "FLOP", 0.0, 1e6)
SPACE = SearchSpace(
    {
        "net": Choice(
            ("cnn", "lenet", "resnet"),
            (
                {"name": "cnn", "width": Integer(4, 16, 2), "depth": Integer(2, 4)},
                {"name": "lenet", "width": Real(0.1, 0.5, log=True)},
                {"name": "resnet", "width": Integer(4, 8, 2)},
            ),
        ),
        "attack": Choice(("pgd", "mixed"), ({"name": "pgd"}, {"name": "mixed", "alpha": Real(0.5, 0.95)})),
        "loss": Choice(("ce", "trades"), ({"name": "ce"}, {"name": "trades", "beta": Real(1, 10, log=True)})),
        "lr": Real(0.01, 0.3, log=True),
        "decay": Real(1e-5, 1e-2, log=True),
    }
)
IDLE = ("attack", "attack.mixed.alpha", "loss.trades.beta", "decay")
"""Genes that do nothing; so does `loss`, but for the advantage that a test gives TRADES."""


def robust(genome):
    """Robust accuracy without noise: network, its width and depth, and a learning rate that suits some."""
    net = genome["net"]
    value = {"cnn": 0.25, "lenet": 0.2, "resnet": 0.45}[net]
    value += {"cnn": 0.12, "lenet": 0.02, "resnet": 0.06}[net] * np.log10(genome["lr"] / 0.01)
    if net == "cnn":
        value += 0.08 * (genome["net.cnn.depth"] - 2) + 0.01 * genome["net.cnn.width"]
    return value + (0.02 * genome["net.resnet.width"] if net == "resnet" else 0)


def flops(genome):
    """Operations: of the network alone."""
    if genome["net"] == "lenet":
        return 8e5 * genome["net.lenet.width"]
    if genome["net"] == "cnn":
        return 600 * genome["net.cnn.width"] ** 2 * genome["net.cnn.depth"]
    return 6000 * genome["net.resnet.width"] ** 2


def bred(seed, *, advantage=0.0, population=12, generations=6):
    """Return the evaluations of a search; TRADES has an advantage in robust accuracy."""
    generator = np.random.default_rng(seed)
    search = Nsga2().start(SearchProblem(SPACE, 2, 0, population, seed))
    found = []
    for generation in range(1, generations + 1):
        losses = []
        for index, candidate in enumerate(search.ask()):
            genome = candidate.genome
            value = robust(genome) + advantage * (genome["loss"] == "trades")
            values = {"robust": value + NOISE * generator.standard_normal(), "flops": flops(genome)}
            where = {"generation": generation, "index": index}
            found.append(Evaluation(candidate, "complete", values, **where))
            losses.append((1 - values["robust"], values["flops"] / 1e6))
        search.tell(np.array(losses), np.zeros((len(losses), 0)))
    return found
