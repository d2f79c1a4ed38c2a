"""A campaign as a study of Optuna's in memory, made to be looked at.

Optuna's dashboard can delete and rename studies, and it writes notes and artifacts into the study that it
shows, so it is given this copy.
"""

import json
import mimetypes
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage

from moosearch.campaign.header import Header
from moosearch.campaign.study import distributions, trial_of
from moosearch.evaluation import Evaluation
from moosearch.space import Gene

_NAMES = uuid.UUID("6d6f6f73-6561-4263-a868-000000000000")
_ATTRIBUTE = "artifacts:"
"""With this and the id of an artifact begin the system attributes that Optuna keeps artifacts under."""


class Pictures:
    """An artifact store of Optuna's whose artifacts are files of the campaign, where they lie."""

    def __init__(self) -> None:
        """Start empty."""
        self._paths: dict[str, Path] = {}

    def attributes(self, paths: Iterable[Path]) -> dict[str, str]:
        """Take files in; return the system attributes that show them."""
        found = {}
        for path in paths:
            identity = str(uuid.uuid5(_NAMES, str(path.resolve())))
            kind = "text/markdown" if path.suffix == ".md" else mimetypes.guess_type(path.name)[0]
            self._paths[identity] = path
            found[f"{_ATTRIBUTE}{identity}"] = json.dumps(
                {
                    "artifact_id": identity,
                    "filename": path.name,
                    "mimetype": kind or "application/octet-stream",
                    "encoding": None,
                }
            )
        return found

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file.

        Raises:
            ArtifactNotFound: It is none that was taken in, or is gone.
        """
        try:
            return self._paths[artifact_id].open("rb")
        except (KeyError, OSError) as error:
            raise ArtifactNotFound(artifact_id) from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse: what lies in a campaign's folder is the campaign's."""
        raise PermissionError("the files of a campaign are shown, not written")

    def remove(self, artifact_id: str) -> None:
        """Refuse, as to write."""
        raise PermissionError("the files of a campaign are shown, not removed")


def mirror(
    header: Header,
    evaluations: Sequence[Evaluation],
    genes: Mapping[str, Gene],
    pictures: Pictures,
    shown: Mapping[str, Iterable[Path]],
    told: Mapping[str, str],
) -> tuple[optuna.Study, dict[str, int]]:
    """Write a campaign into a study in memory.

    Trials are numbered in the order of the evaluations, with genes as parameters, objectives with their
    names, violations as constraints, and as attributes what is one number or word: failed candidates keep
    their reason.

    Args:
        header: What the campaign says of itself.
        evaluations: Everything evaluated.
        genes: The genes of its space by path; of others the values that were evaluated are the choices.
        pictures: Takes the files in.
        shown: Files to show, by candidate id; the campaign's under an empty one.
        told: One more attribute of every candidate, ``shown_as``, by id.

    Returns:
        The study, and the ids of its trials by candidate id.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage, ranges = InMemoryStorage(), distributions(genes)
    for path in {path for e in evaluations for path in e.candidate.genome} - ranges.keys():
        values = dict.fromkeys(e.candidate.genome.get(path) for e in evaluations)
        ranges[path] = CategoricalDistribution(list(values))
    study = optuna.create_study(
        storage=storage,
        study_name=header.name,
        directions=[objective.sense for objective in header.objectives],
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names([objective.key for objective in header.objectives])
    for key, value in _campaign(header).items():
        study.set_user_attr(key, value)
    for key, text in pictures.attributes(shown.get("", ())).items():
        storage.set_study_system_attr(study._study_id, key, text)
    numbers = {}
    for evaluation in evaluations:
        identity = evaluation.candidate.id
        violations = [evaluation.violations.get(text, 0.0) for text in header.constraints]
        # The dashboard reads constraints where Optuna kept them before version 5.
        system = pictures.attributes(shown.get(identity, ())) | {"constraints": violations}
        attributes = {"shown_as": told.get(identity, "")} | _candidate(evaluation)
        trial = trial_of(
            evaluation, header, ranges, user_attrs=attributes, system_attrs=system, constraints=None
        )
        numbers[identity] = storage.create_new_trial(study._study_id, trial)
    return study, numbers


def _campaign(header: Header) -> dict[str, Any]:
    return {
        "algorithm": header.algorithm,
        "population": header.population,
        "generations": header.generations,
        "seed": header.seed,
        "constraints": ", ".join(header.constraints) or "none",
    }


def _candidate(evaluation: Evaluation) -> dict[str, Any]:
    """Return what is worth a column, one number or word each."""
    row: dict[str, Any] = {
        "candidate": evaluation.candidate.id,
        "generation": evaluation.generation,
        "index": evaluation.index,
        **evaluation.metrics,
        **{f"{key}_std": std for key, std in evaluation.deviations.items()},
        **{f"seconds_{part}": round(seconds, 3) for part, seconds in evaluation.seconds.items()},
        "attempts": evaluation.attempts,
        "host": evaluation.provenance.get("host", ""),
        "failure": evaluation.failure,
        "reason": evaluation.reason,
    }
    return {key: value for key, value in row.items() if value != ""}
