"""Trained candidates and exported models against a suite of attacks, on validation, test or own images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from moosearch.analysis.answers import make_folders, write_answer
from moosearch.analysis.setup import EvaluationProtocol, Part, Progress, Setup, setups
from moosearch.attacks import Norm
from moosearch.attacks.suite import Node
from moosearch.errors import SpecError
from moosearch.judging.measure import judgments
from moosearch.judging.record import record

PROTOCOL = EvaluationProtocol(
    attacks=("fgsm", "pgd20", "pgd100", "cw", "deepfool"),
    several=("fgsm", "pgd20", "pgd100", "noise"),
    split="val",
)
"""With the cheap attacks of the papers: Square takes ten times as long as all of these, AutoAttack twenty."""

COLUMNS = (
    "candidate", "split", "norm", "eps", "seed", "images", "attack", "correct", "accuracy", "low", "high",
    "mean_distance", "seconds", "images_per_second", "doubt",
)  # fmt: skip


def evaluate(
    folder: Path | str,
    *,
    attacks: str | Sequence[Node] | None = None,
    split: Part | None = None,
    rules: Sequence[str] = ("knee",),
    eps: float | str | None = None,
    norm: Norm | None = None,
    surrogate: Path | str = "",
    data: Path | str | None = None,
    images: int = 0,
    batch: int = 0,
    seed: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Judge candidates of a campaign, or an exported model, under each attack and under the worst of them.

    Everything is checked and loaded before the first attack runs. What is known of a candidate is written
    after each attack: to ``evaluations/ID/`` in a campaign's folder, to ``evaluations/`` in an export, as
    JSON with the CSV of its rows beside it. Only the times differ between two runs.

    Args:
        folder: A campaign's folder or an exported one.
        attacks: Names such as ``pgd20``, or mappings, or a text of several, see `named_attacks`; those of
            `PROTOCOL` if None.
        split: ``val`` (the default), which the candidates were selected on, or ``test``, for final numbers.
        rules: Of a campaign: ``knee``, ``best:OBJECTIVE``, ids, or ``front`` for all members.
        eps: Radius in pixel units of [0, 1], also as text: ``8/255``. By default the campaign's first.
        norm: Norm of the ball. By default the campaign's; for another one ``eps`` must be given.
        surrogate: An exported folder, for the attack ``transfer``.
        data: The user's own images instead of a split, see `own_images`.
        images: How many images, the first ones; 0 for all.
        batch: Images that are attacked at a time; 0 for `moosearch.judging.measure.batch_size`. Random
            starts depend on it.
        seed: Seed of the attacks; by default the campaign's.
        progress: Called with candidate and attack, the images done and how many there are.

    Returns:
        A row for each candidate under ``clean``, each attack, ``worst_case`` (the attacks' worst for each
        image) and ``average_robust`` (the mean over attacks), with the columns `COLUMNS`: ``accuracy`` is a
        fraction of all images and ``low`` and ``high`` are its Wilson interval; ``mean_distance`` is that of
        the images fooled, in ``norm``; ``doubt`` is what makes an attack doubt its own result.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or is damaged, or cannot be written.
        SpecError: A rule, an attack or a number is wrong, or own images do not fit the network.
        DataUnavailableError: The images are not there.
    """
    if split not in (None, "val", "test"):
        raise SpecError(f"split: got '{split}', expected val or test.")
    if split is not None and data is not None:
        raise SpecError("data: got images of your own and a split, expected one of the two.")
    found = setups(
        folder,
        PROTOCOL,
        rules=rules,
        attacks=attacks,
        eps=eps,
        norm=norm,
        surrogate=surrogate,
        split=split,
        data=data,
        images=images,
        batch=batch,
        seed=seed,
    )
    make_folders(found)
    return pd.concat([accuracies(setup, progress) for setup in found], ignore_index=True)


def accuracies(setup: Setup, progress: Progress | None = None) -> pd.DataFrame:
    """Run the attacks of a setup, write what is known after each one, and return the rows of `evaluate`."""
    conditions, frame = setup.conditions, pd.DataFrame()
    for marks in judgments(
        setup.model.net,
        setup.images,
        setup.model.tasks,
        setup.attacks,
        seed=setup.seed,
        batch=setup.batch,
        progress=setup.tell(progress),
    ):
        result = record(marks)
        rows = [{**conditions, "doubt": "", **row} for row in result.rows()]
        frame = pd.DataFrame(rows, columns=COLUMNS).astype({"correct": "Int64"})
        finished = marks.attacked.keys() == setup.attacks.keys()
        write_answer(setup, conditions, {"finished": finished, **result.to_tree()}, frame)
    return frame
