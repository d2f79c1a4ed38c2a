"""Maximal robust layered neighborhoods of a network's test images, stored image by image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from moosearch.analysis.answers import cache_of, cached, make_folders, store
from moosearch.analysis.setup import EvaluationProtocol, Progress, Setup
from moosearch.data import ImageDataset
from moosearch.data.npz import REGIONS, read_npz
from moosearch.errors import SpecError
from moosearch.registry import to_tree
from moosearch.verify import Piecewise
from moosearch.verify.layered import Approach, Neighborhood, Question, neighborhood, seen

KINDS = ("attack", "bounds", "branching", "milp", "unknown", "remembered")

Targets = Literal["both", "alternating"]

PROTOCOL = EvaluationProtocol(labels=2)


@dataclass(frozen=True)
class Neighborhoods:
    """What is known of a network.

    Attributes:
        candidate: Its id.
        classes: Names of its classes.
        approach: How neighborhoods were looked for.
        found: The neighborhoods, in the order of images.
        images: (N, C, H, W) the images, in [0, 1], by their numbers.
        regions: (N, H, W) whose pixels are whose: the class of the object plus 1, or 0.
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
        """Return means over neighborhoods, the standard error of the size, and sums of queries and times.

        What is not known, of no neighborhood or of one alone, is None.
        """
        sizes = np.array([each.size for each in self.found])
        count = len(sizes)
        return {
            "candidate": self.candidate,
            "neighborhoods": count,
            "complete": sum(each.complete for each in self.found),
            "unseen_images": self.unseen,
            "size": float(sizes.mean()) if count else None,
            "size_error": float(sizes.std(ddof=1) / math.sqrt(count)) if count > 1 else None,
            "eps_object": float(np.mean([each.eps[0] for each in self.found])) if count else None,
            **{f"queries_{kind}": sum(each.queries.get(kind, 0) for each in self.found) for kind in KINDS},
            **{f"seconds_{kind}": sum(each.seconds.get(kind, 0.0) for each in self.found) for kind in KINDS},
            "seconds": sum(each.total for each in self.found),
        }

    def relations(self) -> pd.DataFrame:
        """Return the mean size by class: rows are targets, columns the objects that may change.

        A small number says that the one endangers the other; NaN where no image shows the pair.
        """
        names = list(self.classes)
        if not self.found:
            return pd.DataFrame(math.nan, index=names, columns=names)
        table = self.to_frame().pivot_table("size", "target", "perturbed", aggfunc="mean")
        return table.reindex(index=names, columns=names)


def neighborhoods(
    setups: Sequence[Setup],
    *,
    approach: Approach | None = None,
    targets: Targets = "both",
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Neighborhoods]:
    """Find a neighborhood for every image, with each of its two objects as the target or with one.

    Each is on disk as soon as it is found, and is not looked for again under the same approach.

    Args:
        setups: Networks for images with two labels, with test images, or the user's own: an .npz file with
            `x_test`, `y_test` and `regions_test`, as the dataset `npz` has them.
        approach: How to look.
        targets: Which object stays: each of the two, or by turns the one of the lower and of the higher
            class, which takes half the time.
        workers: Neighborhoods at a time, on Ray; 1 for this process.
        progress: Called with how far it is.

    Raises:
        CampaignError: A folder cannot be written.
        SpecError: Nobody knows whose pixels are whose, or a network has layers that cannot be verified.
        MissingExtraError: A complete search is asked for, and its solver is not installed.
    """
    approach, every = approach or Approach(), []
    networks = [Piecewise.of(setup.model.net.deployed(), setup.model.shape) for setup in setups]
    asked = [_questions(setup) for setup in setups]
    make_folders(setups)
    tree = to_tree(approach, Approach)
    for setup, network, both in zip(setups, networks, asked, strict=True):
        model = setup.model
        visible = [q for q in both if seen(network, q)]
        unseen = (len(both) - len(visible)) // 2
        if targets == "alternating":
            visible = [q for q in visible if (q.target > q.perturbed) == bool(q.image % 2)]
        place = cache_of(setup, "neighborhoods", [tree])
        store(place / "approach.json", tree)
        found = cached(
            partial(neighborhood, network, approach),
            {f"{q.image:05d}-{q.target}": q for q in visible},
            Neighborhood,
            place,
            workers=workers,
            progress=partial(setup.tell(progress), "neighborhoods"),
        )
        result = Neighborhoods(
            model.name,
            model.tasks[0].groups,
            approach,
            tuple(found),
            np.array([each.x.reshape(model.shape) for each in both[::2]]),
            np.array([each.regions for each in both[::2]]),
            unseen,
            place,
        )
        store(place / "neighborhoods.csv", result.to_frame().to_csv(index=False))
        store(place / "relations.csv", result.relations().to_csv())
        store(place / "summary.json", result.summary())
        every.append(result)
    return every


def _questions(setup: Setup) -> list[Question]:
    """Return two questions an image, with the one and with the other object as the target."""
    images, dataset = setup.images, setup.model.dataset
    if setup.data is not None:
        regions = read_npz(str(setup.data)).regions_test
    else:
        regions = dataset.test_regions() if isinstance(dataset, ImageDataset) else None
    if regions is None:
        where = setup.data or "the dataset"
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
