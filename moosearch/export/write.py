"""Export: a trained candidate becomes a folder that loads and predicts without moosearch."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.header import Header
from moosearch.data import Splits
from moosearch.errors import ExportError, SpecError, nearest
from moosearch.evaluation import Evaluation
from moosearch.export.card import PARITY_IMAGES, model_card
from moosearch.export.files import (
    CARD,
    FILES,
    INT8,
    MADE_OF_IT,
    MANIFEST,
    ONNX,
    PROGRAM,
    SPEC,
    WEIGHTS,
    described,
)
from moosearch.export.int8 import judge_int8, write_int8
from moosearch.export.latency import measure
from moosearch.export.manifest import confirmation_of, manifest_of, on_front
from moosearch.export.programs import write_programs
from moosearch.export.session import Session
from moosearch.judging.measure import correct_clean, fraction
from moosearch.models import RobustNet
from moosearch.plan.reading import campaign_spec
from moosearch.plan.spec import Budget, CampaignSpec
from moosearch.registry import build, to_tree
from moosearch.seeding import derive_seed
from moosearch.space.files import dump, load
from moosearch.training import CandidateSpec, key_of
from moosearch.training.objectives import CleanAccuracy
from moosearch.training.weights import load_network

TOLERANCE = 1e-4
"""Largest difference of a logit that an exported program may show."""

REPRODUCTION = 0.01
"""Largest difference of the clean accuracy: another machine's arithmetic may turn a few borderline images."""

QUANTIZATIONS = ("int8",)
"""How a network may be quantized."""

Progress = Callable[[str, int, int], None]
"""Is told what is measured, how much of it is done and how much there is."""


def export_model(
    folder: CampaignFolder,
    header: Header,
    evaluation: Evaluation,
    target: Path,
    *,
    quantize: str | None = None,
    latency: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Export a candidate: weights, programs, manifest, model card, spec.

    The network is rebuilt from its spec and weights and must classify the validation images as it did in
    the campaign; every program must give its logits.

    Args:
        folder: The campaign's folder.
        header: The campaign's header.
        evaluation: Whom to export.
        target: The folder to write; it appears only when everything in it was checked.
        quantize: ``int8`` for a quantized ONNX file besides, whose own accuracies are measured; see
            `moosearch.export.int8`.
        latency: Whether to measure how long the programs take.
        progress: Is told how far attacks on the quantized network are.

    Returns:
        ``target``.

    Raises:
        SpecError: ``quantize`` is none of `QUANTIZATIONS`.
        ExportError: The target is in use, the weights are gone, the network answers at random, a check
            fails, or the network cannot be quantized.
    """
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise SpecError(f"quantize: got '{quantize}'. {nearest(quantize, QUANTIZATIONS)}")
    given, target = target, target.resolve()
    _check_target(target)
    document = load(folder.spec)
    campaign = campaign_spec(document)
    imports = tuple(document.data.get("imports") or ())
    spec: CandidateSpec = build(CandidateSpec, evaluation.candidate.spec)
    net = load_network(folder, evaluation, spec)
    if net.random:
        raise ExportError(
            "this network answers at random (a layer among its defenses draws random numbers): no exported "
            "program could be checked against it. Choose another member, or search without such a defense."
        )
    splits = spec.dataset.load()
    correct = correct_clean(net, splits.val)
    _check_reproduces(evaluation, campaign, fraction(correct))

    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{target}: cannot write here: {error.strerror}.") from error
    try:
        model = net.deployed().eval()
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        write_atomically(partial / WEIGHTS, save(state))
        some = splits.val.pixels(slice(PARITY_IMAGES))
        programs = write_programs(model, some, spec.dataset.tasks[0].groups, partial)
        _check_parity(programs.parity)
        quantized = _quantized(net, splits, spec, campaign, partial, progress) if quantize else None
        write_atomically(partial / SPEC, _spec(campaign, imports, evaluation, spec))
        manifest = manifest_of(header, evaluation, spec, campaign, model, correct)
        manifest |= {
            "on_front": on_front(folder, evaluation),
            "parity": dict(programs.parity),
            "missing": dict(programs.missing),
            "quantized": quantized,
            "latency": _latency(model, spec.dataset.shape, partial) if latency else None,
            "confirmation": confirmation_of(folder, evaluation, campaign),
            "files": described(partial),
        }
        write_atomically(partial / CARD, model_card(manifest))
        write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        _replace(target, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return given


def _check_target(target: Path) -> None:
    """Refuse to replace anything but an empty folder or an export: its manifest, our files and no others."""
    if not target.exists():
        return
    names = {path.name for path in target.iterdir()} if target.is_dir() else {""}
    if names and not (MANIFEST in names and names <= FILES | MADE_OF_IT):
        raise ExportError(f"{target}: this exists and is not an export; name another folder.")


def _replace(target: Path, new: Path) -> None:
    """Put a folder where another one may be, which is deleted only when the new one is in its place."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_reproduces(evaluation: Evaluation, campaign: CampaignSpec, clean: float) -> None:
    for objective in campaign.objectives:
        recorded = evaluation.kept.get(key_of(objective))
        if not isinstance(objective, CleanAccuracy) or recorded is None:
            continue
        if abs(recorded - clean) > REPRODUCTION:
            raise ExportError(
                f"the weights reach a clean accuracy of {clean:.4f} on validation, and the campaign "
                f"recorded {recorded:.4f}: weights and record do not belong together."
            )


def _check_parity(parity: Mapping[str, float]) -> None:
    for name, difference in parity.items():
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{name}: the exported program's logits differ by {difference:.2e} from the "
                f"network's, allowed are {TOLERANCE:.0e}. Nothing was exported."
            )


def _quantized(
    net: RobustNet,
    splits: Splits,
    spec: CandidateSpec,
    campaign: CampaignSpec,
    folder: Path,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write the quantized network and judge it; the same random numbers as in the search."""
    made = write_int8(folder / ONNX, folder / INT8, splits.train)
    seed = derive_seed(campaign.seed, "judge")
    judged = judge_int8(
        Session(folder / INT8),
        net,
        splits.val,
        spec.dataset.tasks,
        campaign.objectives,
        seed=seed,
        progress=progress,
    )
    return {"file": INT8, **made, **judged}


def _latency(model: nn.Module, shape: tuple[int, int, int], folder: Path) -> dict[str, Any]:
    """Measure the programs of a folder."""
    programs: dict[str, Callable[[Tensor], Tensor]] = {
        "torch_export": torch.export.load(folder / PROGRAM).module(),
        "onnx": Session(folder / ONNX),
    }
    if (folder / INT8).exists():
        programs["onnx_int8"] = Session(folder / INT8)
    return measure(programs, model, shape)


def _spec(
    campaign: CampaignSpec, imports: tuple[str, ...], evaluation: Evaluation, spec: CandidateSpec
) -> str:
    """Return a search space file without genes: searching it trains this candidate again.

    It is handed on: databases and trackers of whoever searched are none of the reader's.
    """
    alone = dataclasses.replace(
        campaign,
        name=f"{campaign.name}-{evaluation.candidate.id}",
        budget=Budget(population=1, generations=1),
        initial=(),
        storage="",
        trackers=(),
    )
    tree = {
        "imports": list(imports),
        "campaign": to_tree(alone, CampaignSpec),
        "candidate": to_tree(spec, CandidateSpec),
    }
    return dump(tree)
