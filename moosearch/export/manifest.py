"""The manifest of an export: everything known of it, as plain data."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from torch import Tensor, nn

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.evaluation import Evaluation
from moosearch.export.files import FORMAT
from moosearch.judging.record import attack_tree
from moosearch.judgment import wilson
from moosearch.models import count_flops, count_parameters
from moosearch.plan.spec import CampaignSpec
from moosearch.provenance import versions
from moosearch.registry import to_tree
from moosearch.training import CandidateSpec, key_of
from moosearch.training.objectives import RobustAccuracy
from moosearch.training.verified import VerifiedFraction


def manifest_of(
    header: Header,
    evaluation: Evaluation,
    spec: CandidateSpec,
    campaign: CampaignSpec,
    model: nn.Module,
    correct: Tensor,
) -> dict[str, Any]:
    """Describe a candidate.

    Args:
        header: The campaign's header.
        evaluation: What is known of it.
        spec: Its spec.
        campaign: The campaign's settings.
        model: The deployed network.
        correct: (N,) booleans, the validation images that it classifies rightly.
    """
    images = len(correct)
    return {
        "format": FORMAT,
        "campaign": header.name,
        "candidate": evaluation.candidate.id,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {
            "name": "images",
            "shape": ["batch", *spec.dataset.shape],
            "dtype": "float32",
            "range": [0.0, 1.0],
        },
        "output": {
            "name": "logits",
            "classes": list(spec.dataset.tasks[0].groups),
            "labels": spec.dataset.tasks[0].top,
        },
        "objectives": _objectives(header, evaluation, campaign, images),
        "measured_on": "validation split",
        "images": images,
        "clean_accuracy_reproduced": int(correct.sum()) / images,
        "flops": count_flops(model, spec.dataset.shape),
        "parameters": count_parameters(model),
        "threats": [{"norm": threat.norm, "eps": threat.eps} for threat in campaign.threats],
        "genome": dict(evaluation.candidate.genome),
        "spec": to_tree(spec, CandidateSpec),
        "seed": {"campaign": header.seed, "candidate": evaluation.provenance.get("seed")},
        "seconds": dict(evaluation.seconds),
        "trained_on": evaluation.provenance.get("device"),
        "versions": {"training": _versions_of(evaluation), "export": versions()},
    }


def _objectives(
    header: Header, evaluation: Evaluation, campaign: CampaignSpec, images: int
) -> dict[str, dict[str, Any]]:
    """Describe what the search measured; of accuracies with the interval for so many images.

    A mean over attacks has none.

    ``value`` is the mean over the search's trainings, ``std`` their deviation where there were several, and
    ``kept`` what the one measured whose weights are here; the interval is around ``kept``.
    """
    accuracies = {key_of(o): o for o in campaign.objectives if o.kind == "fraction"}
    found = {}
    for info in header.objectives:
        kept = evaluation.kept.get(info.key, evaluation.objectives[info.key])
        entry: dict[str, Any] = {
            "value": evaluation.objectives[info.key],
            "sense": info.sense,
            "unit": info.unit,
            "kept": kept,
            "std": evaluation.deviations.get(info.key),
        }
        objective = accuracies.get(info.key)
        if isinstance(objective, RobustAccuracy):
            entry |= {"attacks": [attack_tree(a) for a in objective.attacks], "over": objective.over}
        if isinstance(objective, VerifiedFraction):
            entry |= {"norm": "linf", "eps": objective.eps, "time_limit": objective.time_limit}
        if objective is not None:
            share = objective.is_proportion
            seen = min(objective.images or images, images)
            entry |= {"images": seen, "interval": list(wilson(round(kept * seen), seen)) if share else None}
        found[info.key] = entry
    return found


def on_front(folder: CampaignFolder, evaluation: Evaluation) -> bool:
    """Return whether a candidate is on the campaign's front as it is now."""
    front = Campaign(folder.root).front
    return any(member.candidate.id == evaluation.candidate.id for member in front)


def confirmation_of(
    folder: CampaignFolder, evaluation: Evaluation, campaign: CampaignSpec
) -> dict[str, Any] | None:
    """Return what was confirmed of the recipe, shares with Wilson intervals; None where nothing was."""
    found = Campaign(folder.root).confirmation
    member = found.member(evaluation.candidate.id) if found is not None else None
    if member is None:
        return None
    tree = member.to_tree()
    robust = [o for o in campaign.objectives if isinstance(o, RobustAccuracy)]
    means = {key_of(o) for o in robust if not o.is_proportion}
    for measure in member.measured:
        value = tree["values"][measure.column]
        own = measure.kind in ("objective", "as_searched")
        mean = measure.kind == "average_robust" or (own and measure.name in means)
        correct = round(value["mean"] * member.images)
        value["interval"] = None if mean else list(wilson(correct, member.images))
    return tree


def _versions_of(evaluation: Evaluation) -> Mapping[str, str]:
    return {name: v for name, v in evaluation.provenance.items() if name in versions()}
