"""How far apart classes lie, and how diverse the perturbations are that a trained candidate meets."""

from pathlib import Path

import pandas as pd
import torch

from moosearch.attacks.geometry import angle, task_perturbations
from moosearch.attacks.gradient import IterativeAttack
from moosearch.attacks.multitask import Mixed
from moosearch.campaign.campaign import Campaign
from moosearch.data import DATASETS, Dataset, Split, labels_of
from moosearch.data.statistics import inter_class_variance, similar_classes
from moosearch.data.tasks import TaskSpec
from moosearch.errors import SpecError
from moosearch.plan.reading import corner_of, import_plugins, read
from moosearch.registry import build
from moosearch.seeding import derive_seed, torch_generator
from moosearch.space.files import Document, load
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network

BATCH = 250


def training_images(dataset: Dataset, most: int = 0) -> Split:
    """Return the first ``most`` training images, those of validation included; 0 for all."""
    dataset.prepare()
    splits = dataset.load()
    x, y = (torch.cat(parts) for parts in ((splits.train.x, splits.val.x), (splits.train.y, splits.val.y)))
    return Split(x[: most or None], y[: most or None])


def classes(document: Document, *, most: int = 0) -> pd.DataFrame:
    """Return the inter-class variance of a search space's dataset (Hyun & Park 2024, eq. 8 and table 3).

    Args:
        document: A search space file.
        most: Number of training images; 0 for all.

    Returns:
        One row: ``dataset``, ``images``, ``classes``, ``inter_class_variance``.
    """
    return _classes(_dataset(document), most)


def _dataset(document: Document) -> Dataset:
    """Return the dataset of a search space; of several, that of its first corner."""
    reading = read(document)
    corner = next(iter(reading.space.corners()))
    return corner_of(reading.space, corner, reading.place.child("candidate")).dataset


def _classes(dataset: Dataset, most: int) -> pd.DataFrame:
    images = training_images(dataset, most)
    if len(torch.unique(images.y)) < 2:
        raise SpecError(f"--images: got {most}, expected enough images to meet two classes.")
    row = {
        "dataset": DATASETS.name_of(dataset),
        "images": len(images),
        "classes": dataset.tasks[0].size,
        "inter_class_variance": inter_class_variance(images.pixels(), images.y),
    }
    return pd.DataFrame([row])


def similar(document: Document, *, groups: int, most: int = 0) -> TaskSpec:
    """Group the classes of a search space's dataset by the similarity of their images.

    Args:
        document: A search space file.
        groups: Number of groups.
        most: Number of training images; 0 for all.
    """
    dataset = _dataset(document)
    images, names = training_images(dataset, most), dataset.tasks[0].groups
    if len(torch.unique(images.y)) < len(names):
        raise SpecError(f"--images: got {most}, expected enough images to meet all {len(names)} classes.")
    try:
        return similar_classes(images.pixels(), images.y, groups, classes=names)
    except ValueError as error:
        raise SpecError(str(error)) from None


def perturbations(
    folder: Path | str, rule: str = "knee", *, most: int = 1000, most_training: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the standard deviations of the angles of a trained candidate's perturbations, in degrees.

    The perturbations are those of PGD with the candidate's own training attack, on validation images: eta_0
    of the main task and eta_m of each auxiliary one (Hyun & Park 2024, section 3.3 and table 5).

    Args:
        folder: A campaign's folder, such as `moosearch train` leaves behind.
        rule: ``knee``, ``best:OBJECTIVE`` or a candidate's id.
        most: Number of validation images; 0 for all.
        most_training: Number of training images for the inter-class variance; 0 for all.

    Returns:
        A row for every auxiliary task: ``task``, ``images``, and standard deviation and mean of the angles
        (eta_0, eta_m), (x, eta_0), (x, eta_0 + eta_m); and what `classes` returns.

    Raises:
        SpecError: The candidate has no auxiliary task, or was not trained with an attack of several steps.
        ExportError: Its weights were not kept.
    """
    campaign = Campaign(folder)
    evaluation = campaign.evaluation(rule)
    document = load(campaign.folder.spec)
    import_plugins(document.data.get("imports"), document.place.child("imports"))
    spec: CandidateSpec = build(CandidateSpec, evaluation.candidate.spec)
    attack = spec.training.attack
    who = f"{folder}: candidate {evaluation.candidate.id}"
    if len(spec.dataset.tasks) < 2:
        raise SpecError(f"{who} has no auxiliary task to compare with.")
    if not isinstance(attack, IterativeAttack):
        raise SpecError(f"{who} was not trained with an attack of several steps: pgd, mta or mixed.")
    each = Mixed(
        eps=attack.eps,
        step=attack.step,
        steps=attack.steps,
        norm=attack.norm,
        random_start=attack.random_start,
    )
    net = load_network(campaign.folder, evaluation, spec)
    spec.dataset.prepare()
    val = spec.dataset.load().val
    images = val.first(most)
    generator = torch_generator(derive_seed(campaign.header.seed, "analysis"))
    parts = []
    for batch in images.batches(BATCH):
        labels = labels_of(spec.dataset.tasks, batch.y)
        eta = task_perturbations(each, net, batch.x, labels, generator=generator)
        main = angle(batch.x, eta[0])
        parts += [
            pd.DataFrame(
                {
                    "task": task.name,
                    "eta_0, eta_m": angle(eta[0], eta[number]),
                    "x, eta_0": main,
                    "x, eta_0 + eta_m": angle(batch.x, eta[0] + eta[number]),
                }
            )
            for number, task in enumerate(spec.dataset.tasks[1:], 1)
        ]
    angles = pd.concat(parts).dropna()  # where a network is sure, a gradient may vanish and eta with it
    rows = []
    for task in spec.dataset.tasks[1:]:
        own = angles[angles["task"] == task.name].drop(columns="task")
        std, mean = own.std(), own.mean()
        rows.append(
            {"task": task.name, "images": len(own)}
            | std.add_prefix("std ").to_dict()
            | {"increase": std["x, eta_0 + eta_m"] - std["x, eta_0"]}
            | mean.add_prefix("mean ").to_dict()
        )
    return pd.DataFrame(rows), _classes(spec.dataset, most_training)
