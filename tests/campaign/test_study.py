"""The study is readable by Optuna itself, as it stands."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest

import moosearch
from moosearch.campaign import study as studies
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.campaign.storage import Storage
from moosearch.campaign.study import StudyView
from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate, ObjectiveInfo
from moosearch.evaluators import Job

OLDER = Path(__file__).parents[1] / "older/digits"


def test_optuna_reads_the_campaign(finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.folder.study}")
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["clean_accuracy", "robust_accuracy", "flops"]
    assert len(study.trials) == 8
    for trial, evaluation in zip(study.trials, finished.evaluations, strict=True):
        assert trial.params == evaluation.candidate.genome
        assert trial.values == list(evaluation.objectives.values())
        assert trial.user_attrs["candidate"] == evaluation.candidate.id
        assert trial.user_attrs["provenance"]["torch"]
        assert trial.duration.total_seconds() == pytest.approx(evaluation.seconds["total"], abs=1e-3)
    ours = {e.candidate.id for e in finished.front}
    assert {trial.user_attrs["candidate"] for trial in study.best_trials} == ours


@pytest.fixture
def older(tmp_path):
    """A campaign of a version that kept everything in the study."""
    return shutil.copytree(OLDER, tmp_path / "older")


@pytest.fixture
def folder(tmp_path):
    """A folder whose study is still to be written."""
    folder = CampaignFolder(tmp_path)
    folder.spec.write_text("campaign: {name: c}\n")
    return folder


def header(**latency):
    info = ObjectiveInfo("latency", "minimize", "ms", 0.0, 2.0, **latency)
    return Header("c", (info,), (), "nsga2", 4, 2, 0)


def test_a_tolerance_is_stored_where_there_is_one_and_an_older_study_has_none(folder):
    description = {"environment": {"id": "1"}}
    old = header().to_tree()
    assert old["objectives"][0].keys() == {"key", "sense", "unit", "ideal", "reference"}
    StudyView.open(Storage("", folder), header(tolerance=0.05), {}, description)
    assert studies.read(folder).header == header(tolerance=0.05)
    with pytest.raises(CampaignError, match="header is not that"):
        StudyView.open(Storage("", folder), header(), {}, description)
    study = optuna.load_study(study_name="c", storage=f"sqlite:///{folder.study}")
    study.set_user_attr("header", old | {"format": 1, "constraints": []})
    assert studies.read(folder).header == header()
    StudyView.open(Storage("", folder), header(), {}, description)


def test_a_foreign_study_is_refused(folder):
    optuna.create_study(storage=f"sqlite:///{folder.study}", study_name="foreign")
    with pytest.raises(CampaignError, match="not the study of a campaign"):
        studies.read(folder)


def test_a_newer_format_is_refused(folder):
    study = optuna.create_study(storage=f"sqlite:///{folder.study}", study_name="newer")
    study.set_user_attr("header", {"format": 999})
    with pytest.raises(CampaignError, match="another version"):
        studies.read(folder)


def test_an_id_that_is_a_path_is_refused(older):
    with contextlib.closing(sqlite3.connect(older / "study.db")) as database, database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'candidate' AND trial_id = 3",
            ['"../../x"'],
        )
    with pytest.raises(CampaignError, match="no id of a candidate"):
        moosearch.Campaign(older)


@pytest.mark.parametrize("identity", ["../../../x", "0123456789ab/..", "0123456789ab\n", "0123456789AB", ""])
def test_an_id_that_is_none_is_no_path(tmp_path, identity):
    folder = CampaignFolder(tmp_path)
    for path in (folder.weights, folder.history, folder.retrainings):
        with pytest.raises(CampaignError, match="no id of a candidate"):
            path(identity)
    with pytest.raises(CampaignError, match="no id of a candidate"):
        folder.checkpoint(Job(Candidate(identity, {}, {})))


def test_what_a_link_points_to_is_not_deleted(tmp_path):
    outside = tmp_path / "outside"
    (outside / "0123456789ab").mkdir(parents=True)
    (outside / "0123456789ab" / "mine").write_text("mine")
    folder = CampaignFolder(tmp_path / "c")
    folder.create()
    (folder.models / "aaaaaaaaaaaa").symlink_to(outside / "0123456789ab")
    (folder.models / "bbbbbbbbbbbb").mkdir()
    (folder.models / "not a candidate").mkdir()
    folder.keep_models([])
    assert [path.name for path in folder.models.iterdir()] == ["not a candidate"]
    assert (outside / "0123456789ab" / "mine").read_text() == "mine"
