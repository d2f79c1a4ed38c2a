"""Whom to judge: trained candidates of a campaign, or an exported folder that needs no campaign."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moosearch.attacks import Threat
from moosearch.campaign.campaign import Campaign
from moosearch.campaign.export import load_network
from moosearch.campaign.plan import import_plugins
from moosearch.campaign.spec import CampaignSpec
from moosearch.data import Dataset, Task
from moosearch.errors import CampaignError, ExportError, SpecError
from moosearch.evaluation import Evaluation
from moosearch.models import RobustNet
from moosearch.models.exported import load_exported
from moosearch.pareto import Front
from moosearch.registry import build
from moosearch.space.files import Document, load
from moosearch.training import CandidateSpec
from moosearch.training.objectives import RobustAccuracy


@dataclass(frozen=True)
class Trained:
    """A trained network with what judging it needs.

    Attributes:
        name: The candidate's id.
        net: The network, in eval mode, on the CPU.
        tasks: The tasks of its heads.
        shape: (C, H, W) of an image.
        dataset: What it was trained on.
        threats: What the campaign wanted it to be robust against, the first one foremost.
        objectives: What the search measured.
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
    """Whether a folder was written by `moosearch export`."""
    return (folder / "manifest.json").is_file() and (folder / "weights.safetensors").is_file()


def trained(folder: Path, rules: Sequence[str] = ("knee",)) -> list[Trained]:
    """Load an exported model, or candidates of a campaign.

    Args:
        folder: An exported folder or a campaign's folder.
        rules: Of a campaign: ``knee``, ``best:OBJECTIVE``, ids, or ``front`` for all members.

    Raises:
        CampaignError: The folder is neither, or a candidate failed.
        SpecError: A rule fits nothing.
        ExportError: Weights are missing.
    """
    if is_export(folder):
        return [_exported(folder)]
    if not folder.is_dir():
        raise CampaignError(f"{folder}: there is no such folder; expected a campaign or an export.")
    campaign = Campaign(folder)
    evaluations = {e.candidate.id: e for rule in rules for e in _chosen(campaign, rule)}
    document = load(campaign.folder.spec)
    spec = campaign_spec(document)
    return [_candidate(campaign, spec, evaluation) for evaluation in evaluations.values()]


def campaign_spec(document: Document) -> CampaignSpec:
    """Read the ``campaign:`` part of a file of ours, with the plug-ins that it names."""
    import_plugins(document.data.get("imports"), document.place.child("imports"))
    spec: CampaignSpec = build(CampaignSpec, document.data.get("campaign"), document.place.child("campaign"))
    return spec


def threats_of(spec: CampaignSpec) -> tuple[Threat, ...]:
    """Return what a campaign's objectives claim robustness against, each ball once."""
    objectives = [o for o in spec.objectives if isinstance(o, RobustAccuracy)]
    return tuple(dict.fromkeys(threat for o in objectives for threat in o.threats))


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
        threats_of(spec),
        evaluation.objectives,
        campaign.header.seed,
        campaign.folder.root / "evaluations" / evaluation.candidate.id,
    )


def _exported(folder: Path) -> Trained:
    """Load an export; its dataset's files may be gone."""
    document = load(folder / "spec.yaml")
    spec = campaign_spec(document)
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        classes = manifest["output"]["classes"]
        shape = tuple(manifest["input"]["shape"][1:])
        objectives = {key: entry["value"] for key, entry in manifest["objectives"].items()}
        name = manifest["candidate"]
    except (KeyError, ValueError, TypeError) as error:
        raise ExportError(f"{folder}/manifest.json: not the manifest of an export: {error}") from error
    candidate: CandidateSpec = build(
        CandidateSpec, document.data["candidate"], document.place.child("candidate")
    )
    return Trained(
        name,
        load_exported(folder),
        (Task.main(classes),),
        shape,
        candidate.dataset,
        threats_of(spec),
        objectives,
        spec.seed,
        folder / "evaluations",
    )
