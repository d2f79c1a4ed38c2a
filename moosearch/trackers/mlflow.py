"""MLflow: a run a campaign, and within it a run a candidate."""

import contextlib
import json
import logging
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from moosearch.campaign.folder import CampaignFolder
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation, Scalar
from moosearch.extras import require
from moosearch.trackers.tracker import TRACKERS, Run

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
    def open(self, folder: CampaignFolder) -> "Iterator[MlflowRuns]":
        """Log until exit."""
        uri, place = self._whole_uri(), folder.root.absolute() / "mlflow"
        artifacts = None
        if not uri:
            place.mkdir(exist_ok=True)
            uri, artifacts = f"sqlite:///{(place / 'mlflow.db').as_posix()}", (place / "artifacts").as_uri()
        store = partial(_Store, uri, self.experiment, artifacts, _identity(folder))
        with contextlib.closing(MlflowRuns(store)) as runs:
            yield runs

    def _whole_uri(self) -> str:
        """Return the URI with its password, which no file has."""
        password = os.environ.get(PASSWORD, "")
        if "***" in self.uri and not password:
            raise CampaignError(
                f"campaign.trackers: {self.uri}: the password was not written down: set {PASSWORD} to it."
            )
        return self.uri.replace("***", quote(password, safe=""))


class MlflowRuns:
    """Logs to MLflow in a thread of its own: a campaign does not wait for a server."""

    def __init__(self, connect: Callable[[], "_Store"]) -> None:
        """Connect."""
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
            warnings.warn("MLflow does not answer: what was not logged yet is lost", stacklevel=2)
        elif self._error is not None:
            warnings.warn(f"Not everything was logged to MLflow: {self._error}", stacklevel=2)

    def start(self, settings: Mapping[str, Scalar]) -> None:
        """Log what the campaign is."""
        self._do(lambda store: store.start(settings))

    def begin(self, run: Run, attempt: int, host: str) -> None:
        """Open a run."""
        self._do(lambda store: store.begin(run, {"host": host, "attempt": str(attempt), "status": "running"}))

    def log(self, run: Run | None, values: Mapping[str, float], step: int) -> None:
        """Log values of a run, or of the campaign."""
        if run is None:
            self._do(lambda store: store.generation(values, step))
            return
        which = f"training_{run.training + 1}" if run.training else "training"
        # An objective may have the same name.
        named = {f"{which}/{key}": value for key, value in values.items()}
        self._do(lambda store: store.measure(run, named, step))

    def end(self, run: Run, evaluation: Evaluation, *, past: bool = False) -> None:
        """Log objectives, and close the run."""
        self._do(lambda store: None if past and store.ended(run) else store.end(run, evaluation))

    def finish(self, reason: str) -> None:
        """Close the campaign's run, and those that were under way."""
        status = "KILLED" if reason else "FINISHED"
        self._do(lambda store: store.conclude(status, reason or "finished"))

    def _do(self, task: Callable[["_Store"], None]) -> None:
        """Have something done in the thread.

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
        except Exception as error:  # is raised by the next call
            from moosearch.campaign.storage import cause  # which imports Optuna

            self._error = CampaignError(f"MLflow: {cause(error)}")


class _Store:
    """The runs of a campaign in MLflow."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None, identity: str) -> None:
        # A server that does not answer is given up in a minute rather than ten; no usage is reported.
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

    def start(self, settings: Mapping[str, Scalar]) -> None:
        """Log what the campaign is."""
        self._client.update_run(self._parent, name=str(settings["name"]))
        known = {"name", *self._client.get_run(self._parent).data.params}  # MLflow refuses another value
        self._log(self._parent, params={key: value for key, value in settings.items() if key not in known})

    def begin(self, run: Run, tags: Mapping[str, str]) -> None:
        """Open a run, or go on with one."""
        name = _name(run)
        if name not in self._runs:
            self._runs[name] = self._create(name, {JOB: name, "mlflow.parentRunId": self._parent})
            self._log(self._runs[name], params=run.candidate.genome)
        else:
            self._client.update_run(self._runs[name], status="RUNNING")
        self._log(self._runs[name], tags=tags)
        self._running.add(name)

    def measure(self, run: Run, values: Mapping[str, float], step: int) -> None:
        """Log numbers of a run."""
        if (name := _name(run)) in self._runs:
            self._log(self._runs[name], values, step)

    def end(self, run: Run, evaluation: Evaluation) -> None:
        """Log what a run came to, and close it."""
        name = _name(run)
        if name not in self._runs:
            self.begin(run, {})
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

    def ended(self, run: Run) -> bool:
        """Whether everything of a run is logged."""
        return _name(run) in self._ended

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


def _name(run: Run) -> str:
    return f"{run.candidate.id} seed {run.seed}" if run.seed else run.candidate.id


def _identity(folder: CampaignFolder) -> str:
    """Return what a campaign's run is found by again: the campaign's own id."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        identity = json.loads(folder.environment.read_bytes())["id"]
        if isinstance(identity, str) and identity.isalnum():
            return identity
    return folder.root.name
