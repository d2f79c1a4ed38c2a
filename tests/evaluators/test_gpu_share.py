"""Devices and shares of GPUs, without a GPU."""

import dataclasses
import gc
import weakref

import pytest
import torch

from moosearch.errors import CampaignError, EvaluationError, Place, SpecError
from moosearch.evaluation import Candidate
from moosearch.evaluators import Job, Outcome, Resources, Work, gpu_share
from moosearch.evaluators.devices import position, use
from moosearch.evaluators.gpu_share import Footprint, dry_run, largest, measure, sharing
from moosearch.evaluators.serial import Serial
from moosearch.evaluators.work import evaluate
from moosearch.models import RobustNet
from moosearch.plan.plan import make_plan
from moosearch.registry import build, to_tree
from moosearch.space.files import Document
from moosearch.training import Training

GIB = 2**30


def planned(space):
    return make_plan(Document(space, Place()))


@pytest.mark.parametrize(
    ("assigned", "visible", "expected"),
    [
        ([], None, None),
        ([1], None, 1),
        (["1"], "0,1", 1),
        (["3"], "2,3", 1),
        (["2"], "3, 2", 1),
        (["GPU-b"], "GPU-a,GPU-b", 1),
        (["0", "1"], None, 0),
    ],
)
def test_a_gpu_is_named_as_torch_counts(assigned, visible, expected):
    assert position(assigned, visible) == expected


def test_what_is_allowed_decides(monkeypatch):
    assert use("cpu").type == use("auto").type == "cpu"
    with pytest.raises(EvaluationError, match=r"campaign\.resources\.device: got cuda"):
        use("cuda")
    chosen = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    assert use("cpu", 1).type == "cpu"
    assert str(use("auto", 1)) == "cuda:1"
    assert list(map(str, chosen)) == ["cuda:1"]


def test_no_gpus_mean_the_cpu_under_serial_too(monkeypatch, tiny):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for resources in ({"gpus": 0}, {"device": "cpu"}):
        space = tiny()
        space["campaign"] |= {"name": "c", "resources": resources}
        plan = planned(space)
        work = dataclasses.replace(plan.work, limit=1e-9)
        job = Job(plan.space.candidate(next(iter(plan.space.corners()))))
        *_, outcome = evaluate(work, job)
        assert outcome.evaluation.provenance["device"] == "cpu"


def test_contradictions_are_refused_by_name():
    assert Resources(gpus=0).kind == Resources(device="cpu").kind == Resources(1, 0, {}, "cpu").kind == "cpu"
    assert Resources().kind == "auto"
    with pytest.raises(SpecError, match=r"resources: gpus: got 0\.5, and device is cpu"):
        build(Resources, {"gpus": 0.5, "device": "cpu"}, Place(shown=("campaign", "resources")))
    with pytest.raises(SpecError, match="device: got cuda, and gpus is 0"):
        build(Resources, {"gpus": 0, "device": "cuda"}, Place(shown=("campaign", "resources")))
    with pytest.raises(SpecError, match="Did you mean 'cuda'"):
        build(Resources, {"device": "cudo"}, Place(shown=("campaign", "resources")))
    with pytest.raises(CampaignError, match="torch finds no GPU here"):
        Serial().check(Resources(device="cuda"))
    assert "device" not in to_tree(Resources(), Resources)


@pytest.mark.parametrize("gpus", [0.5, 1])
def test_nothing_is_timed_on_a_gpu_that_is_shared(tiny, gpus):
    space = tiny()
    space["campaign"] |= {"name": "c", "resources": {"gpus": gpus}}
    space["campaign"]["objectives"] = ["clean_accuracy", {"name": "latency", "repeats": 1, "rounds": 1}]
    if gpus == 1:
        assert planned(space).campaign.resources.gpus == 1
        return
    with pytest.raises(SpecError, match=r"campaign\.resources\.gpus: got 0\.5, and latency is measured"):
        planned(space)


@pytest.mark.parametrize(
    ("found", "images", "gpus", "expected"),
    [
        (None, 0, 1, 1),
        (Footprint(80 * GIB, 80 * GIB), 0, 1, 1),
        (Footprint(80 * GIB, 4 * GIB), GIB, 1, 10),  # 72 / (5 + 1 + 0.59)
        (Footprint(80 * GIB, 4 * GIB), GIB, 8, 6),  # and seven more contexts
        (Footprint(8 * GIB, GIB // 2), 0, 1, 5),
    ],
)
def test_as_many_share_a_gpu_as_fit(found, images, gpus, expected):
    assert sharing(found, images, gpus) == expected


@pytest.fixture
def plan(tiny):
    space = tiny()
    space["campaign"]["name"] = "c"
    return planned(space)


def test_the_largest_corners_are_tried(plan):
    specs = largest(plan.work.corners)
    assert len(specs) == gpu_share.TRIED < len(plan.trainings)
    assert {getattr(spec.architecture, "width", 0) for spec in specs} == {8}


def test_a_dry_run_trains_a_step_and_judges(plan, monkeypatch):
    stepped, judged = [], []
    epoch = Training.epoch
    monkeypatch.setattr(Training, "epoch", lambda self: stepped.append(len(self._images)) or epoch(self))
    monkeypatch.setattr(
        "moosearch.training.objectives.correct_under",
        lambda _net, images, *_, **__: (
            judged.append(len(images)) or torch.ones(len(images), dtype=torch.bool)
        ),
    )
    spec = largest(plan.work.corners)[0]
    dry_run(plan.work, spec, torch.device("cpu"))
    assert stepped == [spec.training.batch_size]
    assert judged == [512]


def test_memory_that_does_not_suffice_is_all_of_it(plan, monkeypatch):
    class Properties:
        total_memory = 7

    monkeypatch.setattr(gpu_share, "use", lambda *_: torch.device("cuda", 0))
    for name in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_: None)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: Properties)
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda _: 5)
    monkeypatch.setattr(gpu_share, "dry_run", lambda *_: None)
    assert measure(plan.work, 0) == Footprint(7, 5)

    def fail(error):
        def dry_run(*_):
            raise error

        monkeypatch.setattr(gpu_share, "dry_run", dry_run)

    fail(torch.OutOfMemoryError("CUDA out of memory"))
    assert measure(plan.work, 0) == Footprint(7, 7)
    fail(RuntimeError("no luck"))
    assert measure(plan.work, 0) is None
    monkeypatch.undo()
    assert measure(plan.work, None) is None


def test_nothing_of_a_candidate_stays_when_its_outcome_is_heard(plan, monkeypatch):
    """Networks and images of its batches: the next one finds the memory."""
    nets = []
    init = RobustNet.__init__

    def note(self, *args, **kwargs):
        init(self, *args, **kwargs)
        nets.append(weakref.ref(self))

    monkeypatch.setattr(RobustNet, "__init__", note)
    for genome in list(plan.space.corners())[:2]:
        job = Job(plan.space.candidate(genome))
        gc.collect()
        for event in evaluate(plan.work, job):
            if isinstance(event, Outcome):
                assert event.evaluation.status == "complete"
                gc.collect()  # as `release_memory` does on a GPU
                assert not [net for net in nets if net() is not None]
    assert nets


def test_a_candidate_that_raises_no_exception_but_worse_has_failed(plan, monkeypatch):
    """Such as a panic of Rust's: it would end every resume."""

    class Panic(BaseException):
        pass

    def epoch(self):
        raise Panic("called unwrap on None")

    monkeypatch.setattr(Training, "epoch", epoch)
    *_, outcome = evaluate(Work(0, ()), Job(Candidate("0a", {}, plan.work.corners[0])))
    assert outcome.evaluation.failure == "error"
    assert "called unwrap" in outcome.evaluation.reason
