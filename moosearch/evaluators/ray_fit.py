"""How many candidates run on a cluster at a time, and what each of them asks Ray for."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from moosearch.errors import CampaignError, nearest
from moosearch.evaluators.evaluator import Resources

DIGITS = 10_000
"""Ray tells fractions apart to the fourth digit."""

_OWN = {"CPU": "cpus", "GPU": "gpus", "memory": "", "object_store_memory": ""}
"""What Ray has names for of its own, and what we call it."""


class Offer(NamedTuple):
    """What a node of a cluster offers.

    Attributes:
        name: What it is called in messages.
        resources: Amounts by Ray's names.
    """

    name: str
    resources: Mapping[str, float]


class Fit(NamedTuple):
    """How candidates fit into a cluster.

    Attributes:
        workers: Candidates at a time, 1 or more.
        gpus: What one has of a GPU, or how many.
    """

    workers: int
    gpus: float


def fit(offers: Sequence[Offer], resources: Resources, workers: int, most: int = 1) -> Fit:
    """Count the candidates that fit; each has to fit into one node.

    With ``auto``, candidates run on nodes with GPUs if there are any, as many on each GPU as are needed for
    the number of workers, and of them no more than the CPUs and the GPUs' memory allow.

    Args:
        offers: The nodes.
        resources: What a candidate asks for.
        workers: The most at a time; 0 for as many as fit.
        most: The most that share a GPU with ``auto``.

    Raises:
        CampaignError: A candidate fits nowhere, or an amount is none that Ray knows.
    """
    _check_amounts(resources)
    slots = [_slots(offer, resources) for offer in offers]
    if resources.gpus != "auto" or resources.kind == "cpu":
        gpus = 0.0 if resources.gpus == "auto" else float(resources.gpus)
        room = sum(min(n, _on_gpus(offer, gpus)) for n, offer in zip(slots, offers, strict=True))
        if room < 1:
            raise CampaignError(_nowhere(offers, resources))
        return Fit(min(workers or room, room), gpus)
    if not any(slots):
        raise CampaignError(_nowhere(offers, resources))
    with_gpus = [
        (n, int(_have(offer, "GPU")))
        for n, offer in zip(slots, offers, strict=True)
        if n and _have(offer, "GPU")
    ]
    if not with_gpus and resources.kind == "cuda":
        raise CampaignError(_nowhere(offers, dataclasses.replace(resources, gpus=1)))
    if not with_gpus:
        return Fit(min(workers or sum(slots), sum(slots)), 0.0)
    room = sum(min(n, gpus * most) for n, gpus in with_gpus)
    wanted = min(workers or room, room)
    sharing = 1
    while sum(min(n, gpus * sharing) for n, gpus in with_gpus) < wanted:
        sharing += 1
    return Fit(wanted, int(DIGITS / sharing) / DIGITS)


def _check_amounts(resources: Resources) -> None:
    for name, amount in {"gpus": resources.gpus, **resources.custom}.items():
        if name in _OWN:
            instead = f"; set campaign.resources.{_OWN[name]} instead" if _OWN[name] else ""
            raise CampaignError(f"campaign.resources.custom: {name} is Ray's own{instead}.")
        if amount != "auto" and amount > 1 and amount != int(amount):
            raise CampaignError(
                f"campaign.resources: got {amount:g} of {name}; Ray has fractions below 1 and whole numbers."
            )


def _slots(offer: Offer, resources: Resources) -> int:
    """Return how many candidates fit into a node, GPUs aside."""
    needs = {"CPU": float(resources.cpus), **resources.custom}
    return min(_times(_have(offer, name), amount) for name, amount in needs.items())


def _on_gpus(offer: Offer, gpus: float) -> int:
    """Return how many candidates find a share of a GPU, or so many GPUs, in a node."""
    if not gpus:
        return 2**31 - 1
    have = _have(offer, "GPU")
    return int(have) * _times(1.0, gpus) if gpus <= 1 else _times(have, gpus)


def _have(offer: Offer, name: str) -> float:
    return offer.resources.get(name, 0.0)


def _times(have: float, need: float) -> int:
    return math.floor(have / need + 0.5 / DIGITS)


def _nowhere(offers: Sequence[Offer], resources: Resources) -> str:
    """Say what a candidate asks for, and what there is."""
    gpus = {} if resources.gpus in ("auto", 0) else {"GPUs": resources.gpus}
    asked = {"CPUs": resources.cpus, **gpus, **resources.custom}
    known = {name for offer in offers for name in offer.resources if ":" not in name} - _OWN.keys()
    unknown = [name for name in resources.custom if name not in known]
    wanted = " and ".join(f"{amount:g} {name}" for name, amount in asked.items())
    return (
        f"campaign.resources: a candidate asks for {wanted} of one node, and no node has them: "
        f"{'; '.join(map(_listed, offers)) or 'there is none'}."
        + "".join(f" No resource is called {name!r}. {nearest(name, known)}" for name in unknown)
    )


def _listed(offer: Offer) -> str:
    shown: dict[str, Any] = {"CPUs": _have(offer, "CPU"), "GPUs": _have(offer, "GPU")}
    shown |= {k: v for k, v in sorted(offer.resources.items()) if k not in _OWN and ":" not in k}
    return f"{offer.name} has " + ", ".join(f"{amount:g} {name}" for name, amount in shown.items())
