"""Maximal robust layered neighborhoods of a network's test images, kept image by image."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from moosearch.campaign.evaluation import images_of
from moosearch.campaign.folder import write_atomically
from moosearch.campaign.subject import Trained, trained
from moosearch.data import ImageDataset
from moosearch.data.npz import REGIONS, read_npz
from moosearch.errors import CampaignError, SpecError
from moosearch.evaluators.spread import spread
from moosearch.registry import to_tree
from moosearch.verify import Piecewise
from moosearch.verify.study import Approach, Neighborhood, Question, neighborhood, seen

KINDS = ("attack", "bounds", "milp", "unknown", "remembered")

Progress = Callable[[str, int, int], None]
"""Is told what is done, how much of it and how much there is."""


@dataclass(frozen=True)
class Study:
    """What is known of a network.

    Attributes:
        candidate: Its id.
        classes: Names of its classes.
        approach: How neighborhoods were looked for.
        found: The neighborhoods, in the order of images.
        images: (N, H, W) the images in [0, 1], by number; the mean over channels.
        regions: (N, H, W) whose pixels are whose.
        unseen: Images on which the network does not see both objects, left aside.
        folder: Where all is written.
    """

    candidate: str
    classes: tuple[str, ...]
    approach: Approach
    found: tuple[Neighborhood, ...]
    images: NDArray[np.float64]
    regions: NDArray[np.uint8]
    unseen: int
    folder: Path

    def to_frame(self) -> pd.DataFrame:
        """Return a row a neighborhood: image, classes, size, bound, queries and seconds by kind."""
        return pd.DataFrame(
            {
                "candidate": self.candidate,
                "image": each.image,
                "target": self.classes[each.target],
                "perturbed": self.classes[each.perturbed],
                "layers": len(each.eps),
                "size": each.size,
                "at_most": each.at_most,
                "eps_object": each.eps[0],
                "complete": each.complete,
                **{
                    f"layers_{face}": each.faces.count(face)
                    for face in ("blocked", "full", "unknown", "open")
                },
                **{f"queries_{kind}": each.queries.get(kind, 0) for kind in KINDS},
                **{f"seconds_{kind}": each.seconds.get(kind, 0.0) for kind in KINDS},
                "seconds": each.total,
            }
            for each in self.found
        )

    def summary(self) -> dict[str, Any]:
        """Return means over neighborhoods, the standard error of the size, and sums of queries and times."""
        sizes = np.array([each.size for each in self.found])
        count = len(sizes)
        return {
            "candidate": self.candidate,
            "neighborhoods": count,
            "complete": sum(each.complete for each in self.found),
            "unseen_images": self.unseen,
            "size": float(sizes.mean()) if count else math.nan,
            "size_error": float(sizes.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan,
            "eps_object": float(np.mean([each.eps[0] for each in self.found])) if count else math.nan,
            **{f"queries_{kind}": sum(each.queries.get(kind, 0) for each in self.found) for kind in KINDS},
            **{f"seconds_{kind}": sum(each.seconds.get(kind, 0.0) for each in self.found) for kind in KINDS},
            "seconds": sum(each.total for each in self.found),
        }

    def relations(self) -> pd.DataFrame:
        """Return the mean size by class: rows are targets, columns the objects that may change.

        A small number says that the one endangers the other; NaN where no image shows the pair.
        """
        frame = self.to_frame()
        names = list(self.classes)
        table = frame.pivot_table("size", "target", "perturbed", aggfunc="mean") if len(frame) else frame
        return table.reindex(index=names, columns=names)


def study(
    folder: Path | str,
    *,
    rules: Sequence[str] = ("knee",),
    approach: Approach | None = None,
    data: Path | str | None = None,
    images: int = 10,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Study]:
    """Find a neighborhood for every image and each of its two objects as the target.

    Each is on disk as soon as it is found, and is not looked for again under the same approach.

    Args:
        folder: A campaign's folder or an exported one, of networks for images with two labels.
        rules: Of a campaign, whom.
        approach: How to look.
        data: An .npz file with images of one's own in place of the test images: `x_test`, `y_test` and
            `regions_test`, as the dataset `npz` has them.
        images: How many, the first ones; 0 for all.
        workers: Neighborhoods at a time, on Ray; 1 for this process.
        progress: Is told how far it is.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or cannot be written.
        SpecError: Images have not two labels, nobody knows whose pixels are whose, or a network has layers
            that cannot be verified.
        DataUnavailableError: The images are not there.
    """
    approach = approach or Approach()
    studies = []
    for model in trained(Path(folder), rules):
        task = model.tasks[0]
        if task.top != 2:
            raise SpecError(
                f"{model.name}: its images have {task.top} label, expected 2: layers are around one "
                "of two objects. For a ball, leave --layered out."
            )
        network = Piecewise.of(model.net.deployed(), model.shape)
        asked = _questions(model, None if data is None else Path(data), images)
        questions = [question for question in asked if seen(network, question)]
        place = model.folder / f"neighborhoods-{_digest(approach, model, data)}"
        known = {(q.image, q.target): each for q in questions if (each := _read(place, q)) is not None}
        missing = [question for question in questions if (question.image, question.target) not in known]
        _write(place / "approach.json", to_tree(approach, Approach))
        for number, each in spread(partial(neighborhood, network, approach), missing, workers=workers):
            question = missing[number]
            _write(_file(place, question), each.to_tree())
            known[question.image, question.target] = each
            if progress is not None:
                progress(model.name, len(known), len(questions))
        result = Study(
            model.name,
            task.groups,
            approach,
            tuple(known[question.image, question.target] for question in questions),
            np.array([each.x.reshape(model.shape).mean(axis=0) for each in asked[::2]]),
            np.array([each.regions for each in asked[::2]]),
            (len(asked) - len(questions)) // 2,
            place,
        )
        write_atomically(place / "neighborhoods.csv", result.to_frame().to_csv(index=False))
        write_atomically(place / "relations.csv", result.relations().to_csv())
        _write(place / "summary.json", result.summary())
        studies.append(result)
    return studies


def _questions(model: Trained, data: Path | None, most: int) -> list[Question]:
    images = images_of(model, "test", data=data, most=most)
    if data is not None:
        regions = read_npz(str(data)).regions_test
    else:
        regions = model.dataset.test_regions() if isinstance(model.dataset, ImageDataset) else None
    if regions is None:
        where = data or "the dataset"
        raise SpecError(f"{where}: does not say whose pixels are whose: `{REGIONS}` is missing.")
    x = images.pixels().cpu().to(torch.float64).flatten(1).numpy()
    questions = []
    for number, (pixels, labels, region) in enumerate(zip(x, images.y.cpu(), regions, strict=False)):
        first, second = (int(label) for label in labels.nonzero().flatten())
        if not all((region == label + 1).any() for label in (first, second)):
            raise SpecError(f"image {number}: an object has no pixels in `{REGIONS}`.")
        questions += [
            Question(number, pixels, region, target, other)
            for target, other in ((first, second), (second, first))
        ]
    return questions


def _digest(approach: Approach, model: Trained, data: Path | str | None) -> str:
    given = [to_tree(approach, Approach), model.name, str(data or "")]
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:8]


def _file(place: Path, question: Question) -> Path:
    return place / f"{question.image:05d}-{question.target}.json"


def _read(place: Path, question: Question) -> Neighborhood | None:
    """Read what was found before; None where there is nothing that can be read."""
    try:
        tree = json.loads(_file(place, question).read_text(encoding="utf-8"))
        given = {each.name: tree[each.name] for each in fields(Neighborhood)}
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Neighborhood(**given | {name: tuple(given[name]) for name in ("eps", "faces")})


def _write(path: Path, tree: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tree, indent=1))
    except OSError as error:
        raise CampaignError(f"{path}: cannot be written: {error.strerror}.") from error
