"""MLflow: a run a campaign, and within it a run a candidate."""

import contextlib
import json
import logging
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from moosearch.campaign.header import Header
from moosearch.campaign.observer import Observer
from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate, Evaluation
from moosearch.extras import require
from moosearch.job import Begun, EpochDone, Job, Outcome
from moosearch.pareto import Front
from moosearch.trackers.tracker import TRACKERS, past

if TYPE_CHECKING:
    from moosearch.campaign.folder import CampaignFolder

PATIENCE = 30.0
"""Seconds that the end of a campaign waits for a server that does not answer."""

PASSWORD = "MLFLOW_TRACKING_PASSWORD"
"""The environment variable that a password which was not written down is taken from."""

CAMPAIGN, JOB = "moosearch.campaign", "moosearch.job"
"""Tags by which runs are found again."""


@TRACKERS.register("mlflow")
@dataclass(frozen=True)
class Mlflow:
    """Logs to MLflow.

    Attributes:
        uri: The tracking server's, or a database's; empty for ``mlflow/mlflow.db`` in the campaign's folder.
        experiment: Name of the experiment that the campaign's run belongs to.
    """

    uri: str = ""
    experiment: str = "moosearch"

    def check(self) -> None:
        """Check that MLflow is installed, and that the URI is whole.

        Raises:
            CampaignError: It is not.
        """
        require("campaign.trackers: mlflow", "mlflow")
        self._whole_uri()

    @contextlib.contextmanager
    def open(self, folder: "CampaignFolder") -> "Iterator[Observer]":
        """Log until exit."""
        uri, place = self._whole_uri(), folder.root.absolute() / "mlflow"
        artifacts = None
        if not uri:
            place.mkdir(exist_ok=True)
            uri, artifacts = f"sqlite:///{(place / 'mlflow.db').as_posix()}", (place / "artifacts").as_uri()
        runs = MlflowRuns(lambda: _Store(uri, self.experiment, artifacts, _identity(folder)))
        try:
            for evaluation in past(folder):
                runs.catch_up(evaluation)
            yield runs
        finally:
            runs.close()

    def _whole_uri(self) -> str:
        """Return the URI with its password, which no file has."""
        password = os.environ.get(PASSWORD, "")
        if "***" in self.uri and not password:
            raise CampaignError(
                f"campaign.trackers: {self.uri}: the password was not written down: set {PASSWORD} to it."
            )
        return self.uri.replace("***", quote(password, safe=""))


class MlflowRuns(Observer):
    """Tells MLflow, in a thread of its own: a campaign does not wait for a server."""

    def __init__(self, connect: Callable[[], "_Store"]) -> None:
        """Connect, and log what is told from now on."""
        self._header: Header | None = None
        self._confirming = False
        self._tasks: queue.SimpleQueue[Callable[[_Store], None] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, args=(connect,), daemon=True, name="mlflow")
        self._thread.start()

    def close(self) -> None:
        """Wait for what is left, as long as some of it gets done."""
        self._tasks.put(None)
        left = self._tasks.qsize() + 1
        while self._thread.is_alive() and self._tasks.qsize() < left:
            left = self._tasks.qsize()
            self._thread.join(PATIENCE)
        if self._thread.is_alive():
            warnings.warn("MLflow does not answer: what it was not told yet is lost", stacklevel=2)
        elif self._error is not None:
            warnings.warn(f"MLflow was not told everything: {self._error}", stacklevel=2)

    def started(self, header: Header, known: int, workers: int) -> None:
        """Hear what is searched."""
        self._header, self._confirming = header, False
        params = {
            "algorithm": header.algorithm,
            "population": header.population,
            "generations": header.generations,
            "seed": header.seed,
        }
        self._do(lambda store: store.describe(header.name, params))

    def confirmation_started(self, header: Header, trainings: int, known: int, workers: int) -> None:
        """Hear that what comes now are confirmations."""
        self._header, self._confirming = header, True
        self._do(lambda store: store.describe(header.name, {}))

    def begun(self, begun: Begun) -> None:
        """Open a run."""
        job, tags = begun.job, {"host": begun.host, "attempt": str(begun.job.attempt), "status": "running"}
        self._do(lambda store: store.begin(self._name(job), job.candidate, tags))

    def epoch_done(self, epoch: EpochDone) -> None:
        """Log an epoch."""
        row, job = dict(epoch.row), epoch.job
        step = int(row.pop("epoch"))
        which = f"training_{epoch.number + 1}" if epoch.number and not self._confirming else "training"
        values = {
            f"{which}/{key}": value for key, value in row.items()
        }  # an objective may have the same name
        name = self._name(job)
        self._do(lambda store: store.measure(name, values, step))

    def evaluated(self, evaluation: Evaluation) -> None:
        """Log objectives, and close the run."""
        self._do(lambda store: store.end(evaluation.candidate.id, evaluation))

    def catch_up(self, evaluation: Evaluation) -> None:
        """Log objectives, if they are not there."""
        identity = evaluation.candidate.id
        self._do(lambda store: None if store.ended(identity) else store.end(identity, evaluation))

    def confirmed(self, outcome: Outcome) -> None:
        """Log what a training of a confirmation measured, and close its run."""
        name = self._name(outcome.job)
        self._do(lambda store: store.end(name, outcome.evaluation))

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Log how good the front is."""
        assert self._header is not None
        front = Front.of(list(evaluations), self._header.objectives)
        failed = sum(e.status == "failed" for e in evaluations)
        values = {"hypervolume": front.hypervolume(), "front": len(front), "failed": failed}
        self._do(lambda store: store.generation(values, number))

    def stopped(self, reason: str) -> None:
        """Close the campaign's run, and those that were under way."""
        self._do(lambda store: store.conclude("KILLED", reason))

    def finished(self) -> None:
        """Close the campaign's run."""
        self._do(lambda store: store.conclude("FINISHED", "finished"))

    def _name(self, job: Job) -> str:
        return f"{job.candidate.id} seed {job.number}" if self._confirming else job.candidate.id

    def _do(self, task: Callable[["_Store"], None]) -> None:
        """Have something done in time.

        Raises:
            CampaignError: Something before it went wrong.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self._tasks.put(task)

    def _work(self, connect: Callable[[], "_Store"]) -> None:
        try:
            store = connect()
            while (task := self._tasks.get()) is not None:
                task(store)
        except Exception as error:  # is said by whoever tells something next
            from moosearch.campaign.storage import cause

            self._error = CampaignError(f"MLflow: {cause(error)}")


class _Store:
    """The runs of a campaign in MLflow."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None, identity: str) -> None:
        # A server that does not answer is given up in a minute rather than ten; nobody is told of our doings.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(experiment, artifacts)
        )
        campaign = self._find({CAMPAIGN: identity})
        if campaign:
            self._parent = campaign[0].info.run_id
            self._client.update_run(self._parent, status="RUNNING")
        else:
            self._parent = self._create(identity, {CAMPAIGN: identity})
        runs = self._find({"mlflow.parentRunId": self._parent})
        self._runs = {run.data.tags[JOB]: run.info.run_id for run in runs if JOB in run.data.tags}
        self._ended = {
            run.data.tags[JOB] for run in runs if run.data.tags.get("status") in ("complete", "failed")
        }
        history = self._client.get_metric_history(self._parent, "hypervolume")
        self._generation = max((metric.step for metric in history), default=0)
        self._running: set[str] = set()

    def describe(self, name: str, params: Mapping[str, Any]) -> None:
        """Say what the campaign is."""
        self._client.update_run(self._parent, name=name)
        known = self._client.get_run(self._parent).data.params  # MLflow refuses another value
        self._log(self._parent, params={key: value for key, value in params.items() if key not in known})

    def begin(self, name: str, candidate: Candidate, tags: Mapping[str, str]) -> None:
        """Open a run, or go on with one."""
        if name not in self._runs:
            self._runs[name] = self._create(name, {JOB: name, "mlflow.parentRunId": self._parent})
            self._log(self._runs[name], params=candidate.genome)
        else:
            self._client.update_run(self._runs[name], status="RUNNING")
        self._log(self._runs[name], tags=tags)
        self._running.add(name)

    def measure(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Log numbers of a run."""
        if name in self._runs:
            self._log(self._runs[name], values, step)

    def end(self, name: str, evaluation: Evaluation) -> None:
        """Log what a run came to, and close it."""
        if name not in self._runs:
            self.begin(name, evaluation.candidate, {})
        tags = {"status": evaluation.status, "attempts": str(evaluation.attempts)}
        if evaluation.status == "failed":
            tags |= {"failure": evaluation.failure, "reason": evaluation.reason[:500]}
        values = {**evaluation.objectives, **evaluation.metrics}
        self._log(self._runs[name], values, 0, tags=tags)
        self._client.set_terminated(
            self._runs[name], "FINISHED" if evaluation.status == "complete" else "FAILED"
        )
        self._running.discard(name)
        self._ended.add(name)

    def ended(self, name: str) -> bool:
        """Whether a run has all that there is to say."""
        return name in self._ended

    def generation(self, values: Mapping[str, float], number: int) -> None:
        """Log numbers of the campaign; what is repeated when it goes on is there already."""
        if number > self._generation:
            self._log(self._parent, values, number)
            self._generation = number

    def conclude(self, status: str, reason: str) -> None:
        """Close the campaign's run, and those that were under way."""
        for name in self._running:
            self._client.set_terminated(self._runs[name], "KILLED")
        self._running.clear()
        self._log(self._parent, tags={"status": reason[:500]})
        self._client.set_terminated(self._parent, status)

    def _find(self, tags: Mapping[str, str]) -> list[Any]:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], filter_string=wanted, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        run_id: str = self._client.create_run(self._experiment, tags=dict(tags), run_name=name).info.run_id
        return run_id

    def _log(
        self,
        run: str,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(1000 * time.time())
        self._client.log_batch(
            run,
            [Metric(key, float(value), now, step) for key, value in (metrics or {}).items()],
            [Param(key, str(value)) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )


def _identity(folder: "CampaignFolder") -> str:
    """Return what a campaign's run is found by again: the campaign's own id."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        identity = json.loads(folder.environment.read_bytes())["id"]
        if isinstance(identity, str) and identity.isalnum():
            return identity
    return folder.root.name
