"""The loop: resume is replay, nothing is evaluated twice, failures are data."""

import shutil
import sys
import textwrap

import optuna
import pytest

import moosearch
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.observer import Evaluated, GenerationFinished, GenerationStarted, Started
from moosearch.errors import CampaignError, Place, SpecError
from moosearch.evaluators import work
from moosearch.plan.corners import Corners
from moosearch.plan.plan import make_plan
from moosearch.run.run import run
from moosearch.space.files import Document

pytestmark = pytest.mark.rotated(2, group="run")  # whole campaigns


class StopError(Exception):
    """Stands for a death of the process."""


class StopAfter:
    def __init__(self, count):
        self.left = count

    def __call__(self, event):
        if isinstance(event, Evaluated):
            self.left -= 1
            if self.left == 0:
                raise StopError


@pytest.fixture
def count_trainings(monkeypatch):
    """Candidates that were really trained, by id."""
    trained = []
    real = work._train_and_measure

    def counting(attempt, *arguments):
        trained.append(attempt.job.candidate.id)
        return real(attempt, *arguments)

    monkeypatch.setattr(work, "_train_and_measure", counting)
    return trained


def plan_of(data, **campaign):
    data["campaign"] |= {"name": "tiny", **campaign}
    return make_plan(Document(data, Place()))


def rows(campaign):
    """What must not depend on where, when and how often: all but times."""
    return [
        (e.generation, e.index, e.candidate, e.status, e.objectives, e.metrics, e.violations)
        for e in campaign.evaluations
    ]


@pytest.mark.parametrize("after", [1, pytest.param(4, marks=pytest.mark.slow), 6])
def test_resume_equals_an_uninterrupted_run(tiny, tmp_path, finished, count_trainings, after):
    folder = CampaignFolder(tmp_path / "killed")
    with pytest.raises(StopError):
        run(plan_of(tiny(), keep="all"), folder, StopAfter(after))
    assert len(moosearch.Campaign(folder.root).evaluations) == after
    campaign = moosearch.resume(folder.root)
    assert rows(campaign) == rows(finished)
    assert sorted(count_trainings) == sorted(e.candidate.id for e in finished.evaluations)
    assert folder.front.read_text() == finished.folder.front.read_text()
    for evaluation in finished.evaluations:
        mine = folder.weights(evaluation.candidate.id).read_bytes()
        assert mine == finished.folder.weights(evaluation.candidate.id).read_bytes()


def test_a_finished_campaign_trains_nothing_again(tiny, tmp_path, finished, count_trainings):
    again = moosearch.search(
        tiny(storage=""),
        out=shutil.copytree(finished.folder.root, tmp_path / "c"),
        overrides=["campaign.name=tiny", "campaign.keep=all"],
    )
    assert count_trainings == []
    assert rows(again) == rows(finished)


def test_weights_are_on_disk_before_the_log_knows(tiny, tmp_path, monkeypatch):
    folder = CampaignFolder(tmp_path / "order")

    def keep(self, evaluation):
        assert folder.weights(evaluation.candidate.id).is_file()
        raise StopError

    monkeypatch.setattr(EventLog, "keep", keep)
    with pytest.raises(StopError):
        run(plan_of(tiny()), folder)


def test_only_front_members_keep_their_weights(tiny, tmp_path):
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.name=tiny"])
    kept = {path.name for path in campaign.folder.models.iterdir()}
    assert kept == {e.candidate.id for e in campaign.front}


def test_resume_keeps_the_weights_of_the_final_front(tiny, tmp_path):
    """Replaying early generations must not prune the models of later ones."""
    folder = CampaignFolder(tmp_path / "killed")
    with pytest.raises(StopError):
        run(plan_of(tiny(), seed=1, budget={"population": 4, "generations": 3}), folder, StopAfter(11))
    campaign = moosearch.resume(folder.root)
    late = [e for e in campaign.front if e.generation > 1 and (e.generation, e.index) != (3, 3)]
    assert late, "choose another seed: nothing of the front is at stake"
    assert {path.name for path in folder.models.iterdir()} == {e.candidate.id for e in campaign.front}


def test_resume_refuses_what_would_be_another_campaign(finished):
    with pytest.raises(CampaignError, match=r"another campaign: campaign\.seed is 3 there and 5 here"):
        moosearch.resume(finished.folder.root, overrides=["campaign.seed=5"])


def test_a_study_of_another_campaign_is_not_mixed(tiny, tmp_path, count_trainings):
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.budget.generations=1"])
    trained = len(count_trainings)
    for change in ("campaign.seed=9", "campaign.name=other"):
        campaign.folder.spec.unlink(missing_ok=True)
        with pytest.raises(CampaignError, match=r"another campaign|other studies"):
            moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.budget.generations=1", change])
    assert len(count_trainings) == trained


def test_a_path_that_would_break_the_storage_is_refused(tiny, tmp_path):
    with pytest.raises(CampaignError, match="must not contain"):
        moosearch.search(tiny(), out=tmp_path / "a?b")
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_with_latency_goes_on(tiny, tmp_path, count_trainings):
    overrides = ["campaign.objectives=[clean_accuracy, latency]", "campaign.budget.generations=1"]
    first = moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    trained = len(count_trainings)
    again = moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    assert len(count_trainings) == trained
    assert again.header == first.header


def test_the_reference_point_is_beyond_the_dearest_combination(tiny):
    data = tiny()
    data["candidate"]["architecture"] = {
        "name": "small_cnn",
        "width": {"choice": [4, 8]},
        "depth": {"choice": [2, 4]},
    }
    plan = plan_of(data)
    data = tiny()
    data["candidate"]["architecture"] = {"name": "small_cnn", "width": 8, "depth": 4}
    dearest = plan_of(data)
    assert plan.objectives[2].reference == dearest.objectives[2].reference


def test_a_combination_that_is_wrong_is_found_in_any_order(tiny):
    for auxiliary in ([["odd_even"], []], [[], ["odd_even"]]):
        data = tiny()
        data["candidate"]["dataset"]["auxiliary"] = {"choice": auxiliary}
        with pytest.raises(SpecError, match="needs auxiliary tasks"):
            plan_of(data)


def test_a_second_process_is_refused(tiny, tmp_path):
    folder = CampaignFolder(tmp_path / "c")
    folder.create()
    assert not folder.running
    with folder.lock():
        assert folder.running
        with pytest.raises(CampaignError, match="is being run by"):
            run(plan_of(tiny()), folder)
    assert not folder.running


def test_seeds_come_from_campaign_and_candidate(tiny, tmp_path, finished):
    other = moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.name=tiny", "campaign.seed=4"])
    first = {e.candidate.id for e in finished.evaluations if e.generation == 1}
    assert not first & {e.candidate.id for e in other.evaluations if e.generation == 1}
    seeds = {e.provenance["seed"] for e in finished.evaluations}
    assert len(seeds) == len(finished.evaluations)


def test_constraints_are_measured_stored_and_kept(tiny, tmp_path):
    bound = 1000
    campaign = moosearch.search(
        tiny(storage=""),
        out=tmp_path / "c",
        overrides=["campaign.name=tiny", f"campaign.constraints=[parameters <= {bound}]"],
    )
    for evaluation in campaign.evaluations:
        violation = evaluation.violations["parameters <= 1000"]
        assert violation == (evaluation.metrics["parameters"] - bound) / bound
    assert any(not e.feasible for e in campaign.evaluations)
    assert all(e.metrics["parameters"] <= bound for e in campaign.front)
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{campaign.folder.study}")
    assert {t.number for t in study.best_trials} == {
        t.number
        for t in study.trials
        if t.user_attrs["candidate"] in {e.candidate.id for e in campaign.front}
    }


def test_a_campaign_without_genes_is_one_training(tiny, tmp_path):
    data = tiny()
    data["candidate"]["architecture"] = {"name": "small_cnn", "width": 4, "depth": 2}
    data["candidate"]["training"] = {"epochs": 1, "batch_size": 256}
    campaign = moosearch.search(data, out=tmp_path / "c")
    assert len(campaign.evaluations) == len(campaign.front) == 1
    assert campaign.finished  # the space is exhausted, though the budget is not spent
    assert campaign.plot()


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from moosearch.losses import LOSSES, Stateless, Terms


@LOSSES.register("{name}")
@dataclass(frozen=True)
class Faulty(Stateless):
    '''A loss that fails for one learning of two.'''

    fails: bool = True
    needs_clean: ClassVar[bool] = False

    def terms(self, clean, adversarial, labels):
        if self.fails:
            {fault}
        return Terms(torch.nn.functional.cross_entropy(adversarial.logits[0], labels[0]))
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a user's own module with a faulty loss; return its name."""

    def write(name, fault):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(PLUGIN).format(name=name, fault=fault))
        monkeypatch.syspath_prepend(tmp_path)
        return name

    yield write
    from moosearch.losses import LOSSES

    for name in [name for name in LOSSES if name.startswith("faulty")]:
        del LOSSES._classes[name]
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "fault", "reason"),
    [
        ("faulty_raise", "raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("faulty_nan", "return Terms(adversarial.logits[0].sum() * float('nan'))", "diverged"),
    ],
)
def test_failed_candidates_are_data(tiny, tmp_path, plugin, name, fault, reason):
    data = tiny()
    data["imports"] = [plugin(name, fault)]
    data["candidate"]["training"]["loss"] = {"name": name, "fails": {"choice": [True, False]}}
    campaign = moosearch.search(data, out=tmp_path / "c", overrides=["campaign.name=tiny"])
    failed = [e for e in campaign.evaluations if e.status == "failed"]
    assert failed
    for evaluation in campaign.evaluations:
        assert (evaluation.status == "failed") == evaluation.candidate.genome["training.loss.fails"]
    assert all(reason in e.reason and "Traceback" in e.error for e in failed)
    assert all(e.status == "complete" for e in campaign.front)
    assert (campaign.folder.candidates).read_text().count("failed") == len(failed)


def test_a_first_generation_that_fails_as_a_whole_ends_the_campaign(tiny, tmp_path, plugin):
    data = tiny()
    data["imports"] = [plugin("faulty_all", "raise RuntimeError('no luck')")]
    data["candidate"]["training"]["loss"] = "faulty_all"
    with pytest.raises(CampaignError, match=r"all 4 candidates of the first generation failed.*no luck"):
        moosearch.search(data, out=tmp_path / "c")


def test_an_observer_is_called_with_everything_in_order(tiny, tmp_path):
    found = []

    def record(event):
        match event:
            case Started(_, known, workers):
                found.append(("started", known, workers))
            case GenerationStarted(number, candidates):
                found.append(("generation", number, len(candidates)))
            case Evaluated(evaluation):
                found.append(("evaluated", evaluation.generation, evaluation.index))
            case GenerationFinished(number, evaluations):
                found.append(("finished", number, len(evaluations)))

    run(plan_of(tiny()), CampaignFolder(tmp_path / "c"), record)
    expected = [("started", 0, 1)]
    for number in (1, 2):
        expected.append(("generation", number, 4))
        expected += [("evaluated", number, index) for index in range(4)]
        expected.append(("finished", number, 4 * number))
    assert found == expected


def test_a_folder_of_something_else_is_not_written_to(tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CampaignError, match=r"holds no campaign but 'notes\.txt'"):
        moosearch.search(tiny() | {"campaign": {"name": "t", "evaluator": "serial"}}, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_more_cores_than_there_are_are_refused_at_once(tiny, tmp_path):
    overrides = ["campaign.name=t", "campaign.evaluator=ray", "campaign.resources.cpus=5000"]
    with pytest.raises(CampaignError, match="asks for 5,000 CPUs, and this process has"):
        moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    assert not (tmp_path / "c").exists()  # the folder is free for the corrected command


@pytest.mark.parametrize("evaluator", ["ray", "serial"])
def test_a_gpu_that_is_not_there_is_refused_at_once(tiny, tmp_path, monkeypatch, evaluator):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    overrides = ["campaign.name=t", f"campaign.evaluator={evaluator}", "campaign.resources.device=cuda"]
    with pytest.raises(
        CampaignError, match="device: got cuda, and torch finds no GPU here: expected auto or"
    ):
        moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    assert not (tmp_path / "c").exists()


def test_corners_are_planned_once(tiny, tmp_path, finished, monkeypatch):
    """They are the dearest part of planning; which campaign it is, a file says without them."""
    planned, real = [], Corners.__init__

    def counted(self, *arguments, **more):
        planned.append(self)
        real(self, *arguments, **more)

    monkeypatch.setattr(Corners, "__init__", counted)
    root = shutil.copytree(finished.folder.root, tmp_path / "c")
    named = ["campaign.name=tiny", "campaign.keep=all"]
    settings = ["campaign.confirmation={seeds: 1, attacks: [fgsm], images: 20}"]
    for number, command in enumerate(
        (
            lambda: moosearch.search(tiny(storage=""), out=root, overrides=named),
            lambda: moosearch.resume(root, overrides=["campaign.limits.retries.lost=1"]),
            lambda: moosearch.confirm(root, rules=["knee"], overrides=settings),
        ),
        start=1,
    ):
        command()
        assert len(planned) == number
    with pytest.raises(CampaignError, match=r"holds another campaign: campaign\.seed"):
        moosearch.search(tiny(storage=""), out=root, overrides=[*named, "campaign.seed=9"])
    assert len(planned) == 3
