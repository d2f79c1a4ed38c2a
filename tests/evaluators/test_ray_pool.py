"""Ray gives what serial gives, in any number of workers, and survives workers that die."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

import moosearch
from moosearch.api.verbs import confirm
from moosearch.errors import CampaignError
from moosearch.evaluators import Resources, Work, ray_pool
from moosearch.evaluators.gpu_share import Footprint
from moosearch.evaluators.ray_pool import RayPool
from moosearch.evaluators.ray_store import GIB
from moosearch.job import EpochDone, NodesChanged

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One local cluster for all tests here; workers can import modules of a folder."""
    import ray

    modules = tmp_path_factory.mktemp("modules")
    sys.path.insert(0, str(modules))
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,  # says who decides: nothing runs on them
        resources={"a100": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": str(modules)}},
    )
    yield modules
    ray.shutdown()
    sys.path.remove(str(modules))


WITNESS = '''
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from moosearch.data import DATASETS
from moosearch.data.digits import Digits
from moosearch.evaluators.devices import assigned_gpu
from moosearch.losses import LOSSES, Stateless, Terms


def note(log, *words):
    with Path(log).open("a") as file:
        print(*words, file=file)


@DATASETS.register("witnessed")
@dataclass(frozen=True, kw_only=True)
class Witnessed(Digits):
    """Notes who reads it."""
    log: str

    def load(self):
        note(self.log, "read", os.getpid())
        return super().load()


@LOSSES.register("witness")
@dataclass(frozen=True)
class Witness(Stateless):
    """Notes where it is, and takes its time."""
    log: str
    seconds: float = 0.0
    needs_clean: ClassVar[bool] = False

    def terms(self, clean, adversarial, labels):
        note(self.log, "ran", os.getpid(), torch.get_num_threads(), assigned_gpu())
        time.sleep(self.seconds)
        return Terms(torch.nn.functional.cross_entropy(adversarial.logits[0], labels[0]))
'''


@pytest.fixture
def witness(cluster, space, tmp_path):
    """A space whose data and loss note what happens, and what they noted."""
    (cluster / "witness.py").write_text(WITNESS)
    log = tmp_path / "log"
    space["imports"] = ["witness"]
    space["candidate"]["dataset"] = {"name": "witnessed", "log": str(log)}
    space["candidate"]["training"]["loss"] = {"name": "witness", "log": str(log)}
    yield space, lambda: [line.split() for line in log.read_text().splitlines()]
    from moosearch.data import DATASETS
    from moosearch.losses import LOSSES

    DATASETS._classes.pop("witnessed", None)
    LOSSES._classes.pop("witness", None)
    sys.modules.pop("witness", None)


def test_images_are_read_once_and_four_workers_share_two_gpus(witness, tmp_path):
    space, noted = witness
    nodes = []

    def record(event):
        if isinstance(event, NodesChanged):
            nodes.append(event.nodes)

    settings = ["campaign.budget={population: 6, generations: 1}"]
    resources = "campaign.resources={cpus: 1, gpus: 0.5, custom: {a100: 0.25}}"
    shared = moosearch.search(space, out=tmp_path / "ray", overrides=[*settings, resources], observer=record)
    assert [line[1] for line in noted() if line[0] == "read"] == [str(os.getpid())]
    ran = {tuple(line[1:]) for line in noted() if line[0] == "ran"}
    assert len({pid for pid, _, _ in ran}) == 4
    assert {(threads, gpu) for _, threads, gpu in ran} == {("1", "0"), ("1", "1")}
    assert [[(node.alive, node.cpus, node.gpus) for node in seen] for seen in nodes] == [[(True, 4, 2)]]
    serial = moosearch.search(
        space, out=tmp_path / "serial", overrides=[*settings, "campaign.evaluator=serial"]
    )
    assert shared.folder.front.read_text() == serial.folder.front.read_text()


SEEN = "MOOSEARCH_TEST_SEEN"


def where(_number):
    """What a task would use: CUDA keeps what the process saw when it was used first."""
    import ray

    from moosearch.evaluators.devices import assigned_gpu

    seen = os.environ.setdefault(SEEN, os.environ.get("CUDA_VISIBLE_DEVICES", "0,1"))
    time.sleep(0.05)
    return os.getpid(), seen.split(",")[assigned_gpu()], str(ray.get_gpu_ids()[0])


def test_a_task_uses_the_gpu_that_ray_assigned(cluster):
    """Whatever its process had before; and a process does have several."""
    import ray

    whole, half = (ray_pool.task(where, Resources(), gpus) for gpus in (1, 0.5))
    found = ray.get([whole.remote(0), whole.remote(1)])
    for number in range(8):
        found += ray.get([half.remote(number), whole.remote(number), half.remote(number)])
        found += [ray.get(whole.remote(number))]
    assert [used for _, used, _ in found] == [assigned for _, _, assigned in found]
    had = {(pid, assigned) for pid, _, assigned in found}
    assert len(had) > len({pid for pid, _ in had})


@pytest.mark.parametrize(
    ("found", "objective", "expected"),
    [
        (Footprint(80 * GIB, 20 * GIB), "clean_accuracy", (4, 0.5)),
        (Footprint(80 * GIB, 60 * GIB), "clean_accuracy", (2, 1.0)),
        (None, "clean_accuracy", (2, 1.0)),
        (Footprint(80 * GIB, GIB), "latency", (2, 1.0)),
    ],
)
def test_as_many_share_a_gpu_as_it_has_memory_for(cluster, monkeypatch, found, objective, expected):
    monkeypatch.setattr(ray_pool, "_measure", lambda _work: found)
    work = Work(0, ({"name": objective},), images=GIB, corners=({},))
    with RayPool().open(work, Resources()) as pool:
        assert (pool.workers, pool._gpus) == expected
        assert pool._work.device == "auto"
    with RayPool().open(work, Resources(device="cpu")) as pool:
        assert (pool.workers, pool._gpus, pool._work.device) == (4, 0.0, "cpu")


@pytest.mark.slow
def test_a_job_that_does_not_see_the_time_is_ended(witness, tmp_path, monkeypatch):
    space, _ = witness
    space["candidate"]["training"]["loss"]["seconds"] = {"choice": [0.0, 600.0]}
    space["candidate"]["training"]["optimizer"] = {"lr": 0.1}
    space["candidate"]["architecture"]["width"] = 4
    space["campaign"]["budget"] = {"population": 2, "generations": 1}
    monkeypatch.setattr("moosearch.evaluators.ray_pool.GRACE_SECONDS", 0.0)
    campaign = moosearch.search(space, out=tmp_path / "c", overrides=["campaign.limits.seconds=30"])
    found = {e.candidate.genome["training.loss.seconds"]: e for e in campaign.evaluations}
    assert (found[600.0].failure, found[600.0].attempts) == ("time", 1)
    assert "by force" in found[600.0].error
    assert found[0.0].status == "complete"


def test_one_worker_two_workers_and_serial_agree(cluster, space, tmp_path):
    fronts = {}
    for evaluator in ("serial", "{name: ray, workers: 1}", "{name: ray, workers: 2}"):
        campaign = moosearch.search(
            space,
            out=tmp_path / str(len(fronts)),
            overrides=[f"campaign.evaluator={evaluator}"],
        )
        assert len(campaign.evaluations) == 8
        fronts[evaluator] = campaign.folder.front.read_text()
        assert {e.provenance["pid"] == os.getpid() for e in campaign.evaluations} == {evaluator == "serial"}
    assert len(set(fronts.values())) == 1


@pytest.mark.slow
def test_a_confirmation_is_the_same_on_ray(cluster, space, tmp_path):
    """Several trainings of one candidate at a time, with their epochs."""
    heard = []

    def record(event):
        if isinstance(event, EpochDone):
            heard.append((event.job.candidate.id, event.job.number))

    settings = "campaign.confirmation={attacks: [fgsm], seeds: 2, images: 50}"
    moosearch.search(
        space, out=tmp_path / "c", overrides=["campaign.evaluator=serial", "campaign.budget.generations=1"]
    )
    found = {}
    for evaluator in ("serial", "{name: ray, workers: 2}"):
        heard.clear()
        campaign = confirm(
            tmp_path / "c",
            rules=["knee"],
            overrides=[f"campaign.evaluator={evaluator}", settings],
            anew=True,
            observer=record,
        )
        (member,) = campaign.confirmation.members
        identity = member.estimate.candidate.id
        assert sorted(heard) == [(identity, 1), (identity, 2)]
        found[evaluator] = [each.objectives for each in member.complete]
    first, second = found.values()
    assert first == second
    assert len(first) == 2


DEADLY = '''
import os
import signal
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from moosearch.losses import LOSSES, Stateless, Terms


@LOSSES.register("deadly")
@dataclass(frozen=True)
class Deadly(Stateless):
    """Kills its process."""
    by: Literal["", "SIGSEGV", "SIGABRT", "SIGKILL"] = ""
    needs_clean: ClassVar[bool] = False

    def terms(self, clean, adversarial, labels):
        if self.by:
            os.kill(os.getpid(), signal.Signals[self.by])
        return Terms(torch.nn.functional.cross_entropy(adversarial.logits[0], labels[0]))
'''


def test_a_worker_that_a_signal_ends_is_a_failed_candidate_that_names_it(cluster, space, tmp_path):
    (cluster / "deadly.py").write_text(DEADLY)
    space["imports"] = ["deadly"]
    space["candidate"]["architecture"]["width"] = 4
    space["candidate"]["training"]["optimizer"] = {"lr": 0.1}
    campaign = moosearch.search(
        space,
        out=tmp_path / "c",
        overrides=[
            "candidate.training.loss={name: deadly, by: {choice: ['', SIGSEGV, SIGABRT, SIGKILL]}}",
            "campaign.algorithm=grid",
            "campaign.budget={population: 4, generations: 1}",
            "campaign.limits.retries.lost=1",
        ],
    )
    from moosearch.losses import LOSSES

    LOSSES._classes.pop("deadly", None)
    found = {e.candidate.genome["training.loss.by"]: e for e in campaign.evaluations}
    assert found.pop("").status == "complete"
    said = {
        "SIGSEGV": "was ended by signal 11 (SIGSEGV: segmentation fault)",
        "SIGABRT": "was ended by signal 6 (SIGABRT: aborted)",
        "SIGKILL": "killed",
    }
    for kind, evaluation in found.items():
        assert (evaluation.failure, evaluation.attempts) == ("lost", 2)
        context, cause = evaluation.error.splitlines()
        assert evaluation.candidate.id in context
        assert cause.startswith("its worker process ")
        assert said[kind] in cause
        assert kind == "SIGKILL" or "deadly.py, line 20, in terms" in context


@pytest.mark.parametrize("resources", ["cpus: 64", "gpus: 3", "custom: {a10: 1}"])
def test_resources_that_do_not_exist_are_refused_at_once(cluster, space, tmp_path, resources):
    with pytest.raises(CampaignError, match="a candidate asks for"):
        moosearch.search(space, out=tmp_path / "c", overrides=[f"campaign.resources={{{resources}}}"])


@pytest.mark.slow
def test_serial_needs_no_ray(space, tmp_path):
    program = f"""
        import sys
        sys.modules["ray"] = None
        import moosearch
        campaign = moosearch.search({space!r}, out={str(tmp_path / "c")!r},
            overrides=["campaign.evaluator=serial", "campaign.budget.generations=1"])
        assert len(campaign.evaluations) == 4
        assert all(e.status == "complete" for e in campaign.evaluations)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
