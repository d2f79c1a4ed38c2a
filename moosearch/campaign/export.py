"""Export: a trained candidate becomes a folder that loads and predicts without moosearch."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moosearch.campaign.card import PARITY_IMAGES, model_card
from moosearch.campaign.confirmed import Confirmation
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.ledger import Header, Ledger
from moosearch.campaign.plan import campaign_spec
from moosearch.campaign.spec import Budget, CampaignSpec
from moosearch.errors import ExportError
from moosearch.evaluation import Evaluation
from moosearch.evaluators.work import versions
from moosearch.judging.measure import correct_clean, fraction
from moosearch.judging.record import wilson
from moosearch.models import RobustNet, count_flops, count_parameters
from moosearch.registry import build, to_tree
from moosearch.space.files import dump, load
from moosearch.training import CandidateSpec, key_of
from moosearch.training.objectives import CleanAccuracy

TOLERANCE = 1e-4
"""Largest difference of a logit that an exported program may show."""

REPRODUCTION = 0.01
"""Largest difference of the clean accuracy: another machine's arithmetic may turn a few borderline images."""


def export_model(folder: CampaignFolder, header: Header, evaluation: Evaluation, target: Path) -> Path:
    """Export a candidate: weights, ONNX and torch.export programs, manifest, model card, spec.

    The network is rebuilt from its spec and weights and must classify the validation images as it did in
    the campaign; both programs must give its logits.

    Args:
        folder: The campaign's folder.
        header: The campaign's header.
        evaluation: Whom to export.
        target: The folder to write; it appears only when everything in it was checked.

    Returns:
        ``target``.

    Raises:
        ExportError: The target is in use, the weights are gone, or a check fails.
    """
    document = load(folder.spec)
    campaign = campaign_spec(document)
    imports = tuple(document.data.get("imports") or ())
    spec: CandidateSpec = build(CandidateSpec, evaluation.candidate.spec)
    net = load_network(folder, evaluation, spec)
    val = spec.dataset.load().val
    clean = fraction(correct_clean(net, val))
    _check_reproduces(evaluation, campaign, clean)

    model = net.deployed().eval()
    some = val.pixels(slice(PARITY_IMAGES))
    given, target = target, target.resolve()
    _check_target(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{target}: cannot write here: {error.strerror}.") from error
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
            partial / "weights.safetensors",
        )
        parity = {
            "onnx": _export_onnx(model, some, partial / "model.onnx"),
            "torch_export": _export_program(model, some, partial / "model.pt2"),
        }
        for name, difference in parity.items():
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{name}: the exported program's logits differ by {difference:.2e} from the "
                    f"network's, allowed are {TOLERANCE:.0e}. Nothing was exported."
                )
        write_atomically(partial / "spec.yaml", _spec(campaign, imports, evaluation, spec))
        manifest = _manifest(header, evaluation, spec, model, clean, parity, partial)
        manifest["confirmation"] = _confirmation(folder, header, evaluation)
        write_atomically(partial / "CARD.md", model_card(manifest))
        write_atomically(partial / "manifest.json", json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return given


def load_network(folder: CampaignFolder, evaluation: Evaluation, spec: CandidateSpec) -> RobustNet:
    """Rebuild a trained candidate, with all heads, on the CPU.

    Raises:
        ExportError: Its weights were not kept, or do not fit.
    """
    path = folder.weights(evaluation.candidate.id)
    if not path.is_file():
        raise ExportError(
            f"{path}: the weights are not there. Those of front members are kept, and of all candidates with "
            "`keep: all` in the search space file; were they deleted by hand?"
        )
    net = spec.build_network(seed=0)
    try:
        net.load_state_dict(load_file(path))
    except Exception as error:
        raise ExportError(f"{path}: these are not the candidate's weights: {error}") from error
    return net.eval()


FILES = {"weights.safetensors", "model.onnx", "model.pt2", "spec.yaml", "CARD.md", "manifest.json"}
MADE_OF_IT = {"evaluations", "plots"}
"""What `evaluate` and `analyze` write into an export: it speaks of that model, and goes with it."""


def _check_target(target: Path) -> None:
    """Refuse to replace anything but an empty folder or an export, which holds our files and no others."""
    ours = FILES | MADE_OF_IT
    if target.exists() and not (target.is_dir() and {path.name for path in target.iterdir()} <= ours):
        raise ExportError(f"{target}: this exists and is not an export; name another folder.")


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


def _export_onnx(model: nn.Module, images: Tensor, path: Path) -> float:
    """Write an ONNX file with a free batch size; return its largest difference of a logit."""
    import onnxruntime

    with _quiet():
        program = torch.onnx.export(
            model,
            (images[:2],),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])

    return _difference(model, run, images)


def _export_program(model: nn.Module, images: Tensor, path: Path) -> float:
    """Write a torch.export program with a free batch size; return its largest difference of a logit."""
    with _quiet():
        program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return _difference(model, loaded, images)


@torch.no_grad()
def _difference(model: nn.Module, other: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Return the largest difference over two batch sizes."""
    batches = (x, x[:1])
    return max(float((model(batch) - other(batch)).abs().max()) for batch in batches)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' progress and deprecation notices."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _spec(
    campaign: CampaignSpec, imports: tuple[str, ...], evaluation: Evaluation, spec: CandidateSpec
) -> str:
    """Return a search space file without genes: searching it trains this candidate again."""
    alone = dataclasses.replace(
        campaign,
        name=f"{campaign.name}-{evaluation.candidate.id}",
        budget=Budget(population=1, generations=1),
        storage="",
    )
    tree = {
        "imports": list(imports),
        "campaign": to_tree(alone, CampaignSpec),
        "candidate": to_tree(spec, CandidateSpec),
    }
    return dump(tree)


def _manifest(
    header: Header,
    evaluation: Evaluation,
    spec: CandidateSpec,
    model: nn.Module,
    clean: float,
    parity: Mapping[str, float],
    folder: Path,
) -> dict[str, Any]:
    return {
        "format": 1,
        "campaign": header.name,
        "candidate": evaluation.candidate.id,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {
            "name": "images",
            "shape": ["batch", *spec.dataset.shape],
            "dtype": "float32",
            "range": [0.0, 1.0],
        },
        "output": {"name": "logits", "classes": list(spec.dataset.tasks[0].groups)},
        "objectives": {
            info.key: {
                "value": evaluation.objectives[info.key],
                "sense": info.sense,
                "unit": info.unit,
            }
            for info in header.objectives
        },
        "measured_on": "validation split",
        "clean_accuracy_reproduced": clean,
        "flops": count_flops(model, spec.dataset.shape),
        "parameters": count_parameters(model),
        "parity": dict(parity),
        "genome": dict(evaluation.candidate.genome),
        "spec": to_tree(spec, CandidateSpec),
        "seed": {"campaign": header.seed, "candidate": evaluation.provenance.get("seed")},
        "versions": {"training": _versions_of(evaluation), "export": versions()},
        "files": {
            path.name: {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(folder.iterdir())
        },
    }


def _confirmation(folder: CampaignFolder, header: Header, evaluation: Evaluation) -> dict[str, Any] | None:
    """Return what was confirmed of the recipe, accuracies with Wilson intervals; None where nothing was."""
    evaluations = Ledger.open(folder).evaluations()
    found = Confirmation.read(folder, evaluations, header.objectives)
    member = found.member(evaluation.candidate.id) if found is not None else None
    if member is None:
        return None
    tree = member.to_tree()
    for name, value in tree["values"].items():
        share = not name.startswith("suite_average_robust")  # which is a mean of shares
        correct = round(value["mean"] * member.images)
        value["interval"] = list(wilson(correct, member.images)) if share else None
    return tree


def _versions_of(evaluation: Evaluation) -> dict[str, str]:
    return {name: v for name, v in evaluation.provenance.items() if name in versions()}
