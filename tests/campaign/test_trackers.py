"""TensorBoard and MLflow: what was written is read back by their own libraries."""

import dataclasses
import shutil
import subprocess
import sys
import time
import warnings

import pytest

import moosearch
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.observer import (
    ConfirmationStarted,
    Confirmed,
    Evaluated,
    Finished,
    GenerationFinished,
    Interrupted,
    Observers,
    Started,
)
from moosearch.errors import CampaignError, Stopped
from moosearch.evaluation import Candidate
from moosearch.evaluators import Begun, EpochDone, Job, Outcome
from moosearch.registry import build
from moosearch.run.stop import Stop
from moosearch.trackers import TRACKERS, tracker
from moosearch.trackers.mlflow import Mlflow, MlflowRuns
from moosearch.trackers.tracker import Follower, Run, followed

# MLflow's own tables, with SQLAlchemy 2.1.
pytestmark = [pytest.mark.filterwarnings("ignore:The ``noload``"), pytest.mark.rotated(2, group="trackers")]


class StopsAfter:
    """Wishes the end of a campaign after some candidates."""

    def __init__(self, count):
        self.stop, self._left = Stop(), count

    def __call__(self, event):
        if isinstance(event, Evaluated):
            self._left -= 1
            if not self._left:
                self.stop.request()


def goes_on(tiny, folder, name):
    """Run a campaign that is stopped in its second generation and goes on."""
    stops = StopsAfter(5)
    overrides = ["campaign.name=tiny", f"campaign.trackers=[{name}]"]
    with pytest.raises(Stopped):
        moosearch.search(tiny(), out=folder, overrides=overrides, observer=stops, stop=stops.stop)
    time.sleep(1.1)  # TensorBoard orders files by the second in their names
    return moosearch.resume(folder)


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def runs(folder):
    """Return MLflow's runs of a campaign: its own, and those of candidates by name."""
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("moosearch")
    found = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in found if "moosearch.campaign" in run.data.tags)
    nested = {run.info.run_name: run for run in found if run is not parent}
    assert len(nested) == len(found) - 1
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in nested.values())
    return client, parent, nested


def test_tensorboard(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    campaign = goes_on(tiny, tmp_path / "c", "tensorboard")
    root = tmp_path / "c" / "tensorboard"
    volume = [pytest.approx((n, v)) for n, v in campaign_volumes(campaign)]
    assert scalars(root / "campaign")["campaign/hypervolume"] == volume
    assert {path.name for path in root.iterdir()} == {
        "campaign",
        *(e.candidate.id for e in campaign.evaluations),
    }
    for evaluation in campaign.evaluations:
        found = scalars(root / evaluation.candidate.id)
        assert [step for step, _ in found["training/loss"]] == [1]
        for key, value in evaluation.objectives.items():
            assert found[f"objective/{key}"] == [(0, pytest.approx(value))]


def campaign_volumes(campaign):
    from moosearch.campaign.tables import hypervolume_table

    table = hypervolume_table(campaign.evaluations, campaign.header)
    return list(zip(table["generation"], table["hypervolume"], strict=True))


@pytest.mark.slow
def test_mlflow(tiny, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    campaign = goes_on(tiny, tmp_path / "c", "mlflow")
    client, parent, nested = runs(tmp_path / "c")
    assert parent.info.run_name == "tiny"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["population"] == "4"
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [(m.step, m.value) for m in history] == [pytest.approx(row) for row in campaign_volumes(campaign)]
    assert nested.keys() == {e.candidate.id for e in campaign.evaluations}
    for evaluation in campaign.evaluations:
        run = nested[evaluation.candidate.id]
        assert run.info.status == "FINISHED"
        assert run.data.tags["status"] == "complete"
        assert run.data.params == {k: str(v) for k, v in evaluation.candidate.genome.items()}
        for key, value in evaluation.objectives.items():
            assert run.data.metrics[key] == pytest.approx(value)
        assert run.data.metrics["training/robust_accuracy"] != run.data.metrics["robust_accuracy"]
    assert {path.name for path in tmp_path.iterdir()} == {"c"}  # nothing beside the campaign


def test_who_joins_late_catches_up(finished, tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    with (folder / "events.jsonl").open("a") as log:
        log.write('{"event": "evaluated", "candidate": 3}\n')
    for _ in range(2):  # and says nothing twice
        moosearch.resume(folder, overrides=["campaign.trackers=[tensorboard, mlflow]"])
    client, parent, nested = runs(folder)
    assert len(client.get_metric_history(parent.info.run_id, "hypervolume")) == 2
    assert len(nested) == 8
    for evaluation in finished.evaluations:
        found = scalars(folder / "tensorboard" / evaluation.candidate.id)
        assert len(found["objective/flops"]) == 1
        values = client.get_metric_history(nested[evaluation.candidate.id].info.run_id, "flops")
        assert [m.value for m in values] == [evaluation.objectives["flops"]]


def test_a_further_try_goes_on_in_the_curve(tmp_path):
    pytest.importorskip("tensorboard")
    from moosearch.trackers.tensorboard import TensorBoardRuns

    job = Job(Candidate("a" * 12, {}, {}))
    board = TensorBoardRuns(tmp_path)
    follower = Follower(board, CampaignFolder(tmp_path))
    follower(Begun(job, "h", 1))
    for epoch in (1, 2, 3):
        follower(EpochDone(job, 5, {"epoch": epoch, "loss": 1.0}))
    again = dataclasses.replace(job, attempt=2)
    follower(Begun(again, "h", 2))
    for epoch in (3, 4):
        follower(EpochDone(again, 5, {"epoch": epoch, "loss": 2.0}))
    follower(EpochDone(job, 5, {"epoch": 1, "loss": 7.0}, replicate=1))
    board.close()
    assert scalars(tmp_path / job.candidate.id)["training/loss"] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
    assert scalars(tmp_path / f"{job.candidate.id}-training-2")["training/loss"] == [(1, 7.0)]


class Written:
    """What a tracker's system would have been called with."""

    def __init__(self):
        self.calls = []

    def start(self, settings):
        self.calls.append(("start", settings))

    def begin(self, run, attempt, host):
        self.calls.append(("begin", run, attempt, host))

    def log(self, run, values, step):
        self.calls.append(("log", run, values, step))

    def end(self, run, evaluation, *, past=False):
        self.calls.append(("end", run, evaluation.candidate.id, past))

    def finish(self, reason):
        self.calls.append(("finish", reason))


def test_a_tracker_need_only_say_how_values_are_written(finished):
    header, (first, *_) = finished.header, finished.evaluations
    candidate, written = first.candidate, Written()
    follower, job = Follower(written, finished.folder), Job(first.candidate, attempt=2)
    in_confirmation = dataclasses.replace(job, number=3)
    events = [
        Started(header, 8, 1),
        Begun(job, "h", 1),
        EpochDone(job, 5, {"epoch": 4.0, "loss": 1.0}, replicate=1, replicates=2),
        Evaluated(first),
        GenerationFinished(2, tuple(finished.evaluations), finished.front),
        Interrupted("as asked"),
        ConfirmationStarted(header, 3, 0, 1),
        Begun(in_confirmation, "h", 1),
        EpochDone(in_confirmation, 5, {"epoch": 1.0, "loss": 1.0}),
        Confirmed(Outcome(first, in_confirmation)),
        Finished(),
    ]
    for event in events:
        follower(event)
    settings = {"name": "tiny", "algorithm": header.algorithm, "population": 4, "generations": 2}
    opening = [("start", settings | {"seed": header.seed})]
    opening += [("end", Run(e.candidate), e.candidate.id, True) for e in finished.evaluations]
    front = {"hypervolume": finished.front.hypervolume(), "front": len(finished.front), "failed": 0}
    assert [c for c in written.calls if c[0] == "start"] == opening[:1] * 2
    assert sorted(map(str, written.calls[:9])) == sorted(map(str, opening))
    assert [call for call in written.calls if call not in opening] == [
        ("begin", Run(candidate), 2, "h"),
        ("log", Run(candidate, training=1), {"loss": 1.0}, 4),
        ("end", Run(candidate), candidate.id, False),
        ("log", None, front, 2),
        ("finish", "as asked"),
        ("begin", Run(candidate, seed=3), 2, "h"),
        ("log", Run(candidate, seed=3), {"loss": 1.0}, 1),
        ("end", Run(candidate, seed=3), candidate.id, False),
        ("finish", ""),
    ]


def test_a_failed_candidate_is_a_failed_run(finished, tmp_path):
    pytest.importorskip("mlflow")
    failed = dataclasses.replace(
        finished.evaluations[0], status="failed", objectives={}, failure="nan", error="x\nDivergedError: loss"
    )
    with followed(Mlflow(), CampaignFolder(tmp_path)) as follower:
        follower(Begun(Job(failed.candidate), "h", 1))
        follower(Evaluated(failed))
        follower(Begun(Job(finished.evaluations[1].candidate), "h", 1))
        follower(Interrupted("stopped as asked"))
    _, parent, nested = runs(tmp_path)
    run = nested[failed.candidate.id]
    assert run.info.status == "FAILED"
    assert (run.data.tags["failure"], run.data.tags["reason"]) == ("nan", "DivergedError: loss")
    assert nested[finished.evaluations[1].candidate.id].info.status == "KILLED"
    assert parent.info.status == "KILLED"
    assert parent.data.tags["status"] == "stopped as asked"


def test_a_missing_library_is_said_before_anything_starts(tiny, tmp_path, monkeypatch):
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(CampaignError, match=rf"pip install 'moosearch\[{name}\]'"):
            moosearch.search(tiny(), out=tmp_path / name, overrides=[f"campaign.trackers=[{name}]"])
        assert not (tmp_path / name).exists()


def test_a_tracker_that_fails_does_not_end_a_campaign(tiny, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")

    def measure(self, *values):
        raise RuntimeError("no answer from https://me:secret@host/api?token=abc")

    monkeypatch.setattr("moosearch.trackers.mlflow._Store.measure", measure)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        campaign = moosearch.search(
            tiny(), out=tmp_path / "c", overrides=["campaign.name=tiny", "campaign.trackers=[mlflow]"]
        )
    said = [str(w.message) for w in caught if "MLflow" in str(w.message)]
    assert len(said) == 1
    assert "no answer" in said[0]
    assert "secret" not in said[0]
    assert "abc" not in said[0]
    assert campaign.finished
    assert len(campaign.evaluations) == 8


def test_a_server_that_is_not_there_is_given_up(tmp_path):
    def connect():
        raise OSError("nobody answers")

    runs = MlflowRuns(connect)
    observers = Observers([], [Follower(runs, CampaignFolder(tmp_path))])
    runs._thread.join()
    with pytest.warns(UserWarning, match="MlflowRuns gets no more events: .*nobody answers"):
        observers(Interrupted("x"))
    observers(Finished())
    runs.close()


def test_a_server_that_hangs_keeps_nobody(monkeypatch):
    import threading

    monkeypatch.setattr("moosearch.trackers.mlflow.PATIENCE", 0.01)
    answers = threading.Event()
    runs = MlflowRuns(answers.wait)
    runs.finish("x")
    with pytest.warns(UserWarning, match="does not answer"):
        runs.close()
    answers.set()


def test_a_password_comes_from_the_environment(monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    plugin = Mlflow(uri="https://me:***@host/api")
    with pytest.raises(CampaignError, match="MLFLOW_TRACKING_PASSWORD"):
        plugin.check()
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p@ss/word")
    plugin.check()
    assert plugin._whole_uri() == "https://me:p%40ss%2Fword@host/api"


def test_trackers_are_named_in_a_file():
    from typing import Annotated

    hint = Annotated[tracker.Tracker, TRACKERS]
    assert list(TRACKERS) == ["mlflow", "tensorboard"]
    assert build(hint, {"name": "mlflow", "uri": "https://host"}) == Mlflow("https://host")


def test_naming_trackers_imports_none_of_their_libraries():
    program = (
        "import sys, moosearch.trackers\n"
        "assert not {'tensorboard', 'mlflow', 'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tensorboard_keeps_the_trainings_of_a_candidate_apart(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    overrides = ["campaign.trackers=[tensorboard]", "campaign.repeats=2", "campaign.name=tiny"]
    overrides += ["campaign.budget={population: 1, generations: 1}"]
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    (evaluation,) = campaign.evaluations
    for name in (evaluation.candidate.id, f"{evaluation.candidate.id}-training-2"):
        assert [step for step, _ in scalars(tmp_path / "c/tensorboard" / name)["training/loss"]] == [1]
