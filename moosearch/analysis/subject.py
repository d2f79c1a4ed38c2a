"""Networks to judge: trained candidates of a campaign, or an exported folder that needs no campaign."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moosearch.attacks import Threat
from moosearch.campaign.campaign import Campaign
from moosearch.data import Dataset, Task
from moosearch.errors import CampaignError, ExportError, SpecError
from moosearch.evaluation import Evaluation
from moosearch.models import RobustNet
from moosearch.models.exported import load_exported, signature
from moosearch.pareto import Front
from moosearch.plan.reading import campaign_spec
from moosearch.plan.spec import CampaignSpec
from moosearch.registry import build
from moosearch.space.files import load
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network


@dataclass(frozen=True)
class Trained:
    """A trained network with what judging it needs.

    Attributes:
        name: The candidate's id.
        net: The network, in eval mode, on the CPU.
        tasks: The tasks of its heads, the main one first; an export has no other.
        shape: (C, H, W) of an image.
        dataset: What it was trained on.
        threats: What the campaign wanted it to be robust against, the first one foremost; none where it did
            not ask.
        objectives: What the search measured, on validation images.
        seed: Seed of the campaign.
        folder: Where judgments of it are written.
    """

    name: str
    net: RobustNet
    tasks: tuple[Task, ...]
    shape: tuple[int, int, int]
    dataset: Dataset
    threats: tuple[Threat, ...]
    objectives: Mapping[str, float]
    seed: int
    folder: Path


def is_export(folder: Path) -> bool:
    """Whether a folder is one that `moosearch export` writes."""
    return (folder / "manifest.json").is_file()


def trained(folder: Path, rules: Sequence[str] = ("knee",)) -> list[Trained]:
    """Load an exported model, or candidates of a campaign.

    Args:
        folder: An exported folder or a campaign's folder.
        rules: Which candidates: ``knee``, ``best:OBJECTIVE``, ids or their beginnings, or ``front`` for all
            members. An export holds one model, which is its knee and its front.

    Returns:
        Each candidate once, in the order of the rules.

    Raises:
        CampaignError: The folder is neither, a candidate failed, or weights are missing or damaged.
        SpecError: A rule fits nothing.
    """
    if not folder.is_dir():
        raise CampaignError(f"{folder}: there is no such folder; expected a campaign or an export.")
    try:
        if is_export(folder):
            return [_exported(folder, rules)]
        campaign = _campaign(folder)
        evaluations = {e.candidate.id: e for rule in rules for e in _chosen(campaign, rule)}
        spec = campaign_spec(load(campaign.folder.spec))
        return [_candidate(campaign, spec, evaluation) for evaluation in evaluations.values()]
    except ExportError as error:  # here nothing of ours went wrong: what was asked for is not there
        raise CampaignError(str(error)) from error


def _campaign(folder: Path) -> Campaign:
    if not (folder / "campaign.yaml").exists() and not (folder / "study.db").exists():
        raise CampaignError(
            f"{folder}: neither a campaign (`campaign.yaml` is missing) nor an export (`manifest.json` is)."
        )
    return Campaign(folder)


def _chosen(campaign: Campaign, rule: str) -> Sequence[Evaluation]:
    if rule != "front":
        return [campaign.evaluation(rule)]
    front: Front = campaign.front
    if not front.members:
        raise SpecError(f"{campaign.folder.root}: the front is empty: nothing to judge.")
    return front.members


def _candidate(campaign: Campaign, spec: CampaignSpec, evaluation: Evaluation) -> Trained:
    if evaluation.status == "failed":
        raise CampaignError(f"candidate {evaluation.candidate.id} failed: {evaluation.reason}")
    candidate: CandidateSpec = build(CandidateSpec, evaluation.candidate.spec)
    return Trained(
        evaluation.candidate.id,
        load_network(campaign.folder, evaluation, candidate),
        candidate.dataset.tasks,
        candidate.dataset.shape,
        candidate.dataset,
        spec.threats,
        evaluation.objectives,
        campaign.header.seed,
        campaign.folder.root / "evaluations" / evaluation.candidate.id,
    )


def _exported(folder: Path, rules: Sequence[str]) -> Trained:
    """Load an export; its dataset's files may be gone."""
    shape, classes, labels = signature(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        name = str(manifest["candidate"])
        objectives = {key: float(entry["value"]) for key, entry in manifest["objectives"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CampaignError(
            f"{folder}/manifest.json: not the manifest of an export of this version: {error!r}"
        ) from None
    for rule in rules:
        if rule not in ("knee", "front") and not (rule and name.startswith(rule)):
            raise SpecError(f"'{rule}' fits nothing: {folder} is an export, which holds {name} alone.")
    document = load(folder / "spec.yaml")
    spec = campaign_spec(document)
    candidate: CandidateSpec = build(
        CandidateSpec, document.data.get("candidate"), document.place.child("candidate")
    )
    return Trained(
        name,
        load_exported(folder),
        (Task.main(classes, labels),),
        shape,
        candidate.dataset,
        spec.threats,
        objectives,
        spec.seed,
        folder / "evaluations",
    )
