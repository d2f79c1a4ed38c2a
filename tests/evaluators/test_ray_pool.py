"""Ray gives what serial gives, in any number of workers, and survives workers that die."""

import os
import subprocess
import sys
import textwrap

import pytest

import moosearch
from moosearch.campaign.campaign import confirm
from moosearch.campaign.observer import Observer
from moosearch.errors import CampaignError

SPACE = {
    "campaign": {
        "name": "rays",
        "objectives": [
            "clean_accuracy",
            {"name": "robust_accuracy", "attacks": [{"name": "pgd", "eps": 0.1, "steps": 2}]},
            "flops",
        ],
        "budget": {"population": 4, "generations": 2},
    },
    "candidate": {
        "dataset": "digits",
        "architecture": {"name": "small_cnn", "width": {"integer": [2, 8, 2]}, "depth": 2},
        "training": {
            "epochs": 1,
            "batch_size": 256,
            "loss": {"choice": ["cross_entropy", "trades"]},
            "optimizer": {"lr": {"log_real": [0.01, 0.3]}},
        },
    },
}

pytestmark = [
    pytest.mark.ray,
    # Ray's own subprocess and socket handling, at shutdown.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One local cluster for all tests here; workers can import modules of a folder."""
    import ray

    modules = tmp_path_factory.mktemp("modules")
    sys.path.insert(0, str(modules))
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": str(modules)}},
    )
    yield modules
    ray.shutdown()
    sys.path.remove(str(modules))


def test_one_worker_two_workers_and_serial_agree(cluster, tmp_path):
    fronts = {}
    for evaluator in ("serial", "{name: ray, workers: 1}", "{name: ray, workers: 2}"):
        campaign = moosearch.search(
            SPACE,
            out=tmp_path / str(len(fronts)),
            overrides=[f"campaign.evaluator={evaluator}"],
        )
        assert len(campaign.evaluations) == 8
        fronts[evaluator] = campaign.folder.front.read_text()
        assert {e.provenance["pid"] == os.getpid() for e in campaign.evaluations} == {evaluator == "serial"}
    assert len(set(fronts.values())) == 1


def test_a_confirmation_is_the_same_on_ray(cluster, tmp_path):
    """Several trainings of one candidate at a time, with their epochs."""
    heard = []

    class Recorder(Observer):
        def epoch_done(self, epoch):
            heard.append((epoch.job.candidate.id, epoch.job.number))

    settings = "campaign.confirmation={attacks: [fgsm], seeds: 2, images: 50}"
    moosearch.search(
        SPACE, out=tmp_path / "c", overrides=["campaign.evaluator=serial", "campaign.budget.generations=1"]
    )
    found = {}
    for evaluator in ("serial", "{name: ray, workers: 2}"):
        heard.clear()
        campaign = confirm(
            tmp_path / "c",
            rules=["knee"],
            overrides=[f"campaign.evaluator={evaluator}", settings],
            anew=True,
            observer=Recorder(),
        )
        (member,) = campaign.confirmation.members
        identity = member.estimate.candidate.id
        assert sorted(heard) == [(identity, 1), (identity, 2)]
        found[evaluator] = [each.objectives for each in member.complete]
    first, second = found.values()
    assert first == second
    assert len(first) == 2


def test_a_worker_that_dies_is_a_failed_candidate(cluster, tmp_path):
    (cluster / "deadly.py").write_text(
        textwrap.dedent(
            """
            import os
            from dataclasses import dataclass
            from typing import ClassVar

            import torch
            from moosearch.losses import LOSSES, Stateless, Terms

            @LOSSES.register("deadly")
            @dataclass(frozen=True)
            class Deadly(Stateless):
                '''Kills its process.'''
                kills: bool
                needs_clean: ClassVar[bool] = False

                def terms(self, clean, adversarial, labels):
                    if self.kills:
                        os._exit(1)
                    return Terms(torch.nn.functional.cross_entropy(adversarial.logits[0], labels[0]))
            """
        )
    )
    space = {**SPACE, "imports": ["deadly"]}
    campaign = moosearch.search(
        space,
        out=tmp_path / "c",
        overrides=["candidate.training.loss={name: deadly, kills: {choice: [true, false]}}"],
    )
    from moosearch.losses import LOSSES

    del LOSSES._classes["deadly"]
    assert len(campaign.evaluations) == 8
    for evaluation in campaign.evaluations:
        killed = evaluation.candidate.genome["training.loss.kills"]
        assert (evaluation.status == "failed") == killed
        assert not killed or "WorkerCrashedError" in evaluation.error
    assert {e.status for e in campaign.evaluations} == {"complete", "failed"}


@pytest.mark.parametrize("resources", ["cpus: 64", "gpus: 1"])
def test_resources_that_do_not_exist_are_refused_at_once(cluster, tmp_path, resources):
    with pytest.raises(CampaignError, match="a candidate asks for"):
        moosearch.search(SPACE, out=tmp_path / "c", overrides=[f"campaign.resources={{{resources}}}"])


def test_serial_needs_no_ray(tmp_path):
    program = f"""
        import sys
        sys.modules["ray"] = None
        import moosearch
        campaign = moosearch.search({SPACE!r}, out={str(tmp_path / "c")!r},
            overrides=["campaign.evaluator=serial", "campaign.budget.generations=1"])
        assert len(campaign.evaluations) == 4
        assert all(e.status == "complete" for e in campaign.evaluations)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
