"""The study is readable by Optuna itself, as it stands."""

import optuna
import pytest

from moosearch.campaign.ledger import Ledger
from moosearch.errors import CampaignError


def test_optuna_reads_the_campaign(finished):
    study = optuna.load_study(study_name="tiny", storage=finished.folder.storage)
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


def test_a_foreign_study_is_refused(tmp_path):
    storage = f"sqlite:///{tmp_path / 'foreign.db'}"
    optuna.create_study(storage=storage, study_name="foreign")
    with pytest.raises(CampaignError, match="not the study of a campaign"):
        Ledger.open(storage)


def test_a_newer_format_is_refused(tmp_path):
    storage = f"sqlite:///{tmp_path / 'newer.db'}"
    study = optuna.create_study(storage=storage, study_name="newer")
    study.set_user_attr("header", {"format": 999})
    with pytest.raises(CampaignError, match="another version"):
        Ledger.open(storage)
