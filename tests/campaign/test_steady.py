"""The steady-state loop: whatever interrupts it, and however many work for it, its order can be repeated."""

import dataclasses
import json
import zlib
from collections import Counter, deque
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from safetensors.numpy import save

import moosearch
from moosearch.algorithms.breeding import Breeder
from moosearch.api import verbs
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.observer import Evaluated, GenerationFinished, GenerationStarted
from moosearch.campaign.order import Ask, Order
from moosearch.campaign.record import Record
from moosearch.campaign.storage import JOURNAL
from moosearch.campaign.study import StudyView
from moosearch.errors import CampaignError, Place, Stopped
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import EVALUATORS, Outcome
from moosearch.plan.plan import make_plan
from moosearch.run.run import run
from moosearch.run.stop import Stop
from moosearch.space.files import Document

pytestmark = pytest.mark.rotated(3, group="steady")  # whole campaigns

POPULATION, GENERATIONS = 4, 3
BUDGET = POPULATION * GENERATIONS
WEIGHTS = save({"weight": np.zeros(1)})


class DeathError(Exception):
    """Stands for a death of the process."""


class DieAfter:
    def __init__(self, count):
        self.left = count

    def __call__(self, event):
        if isinstance(event, Evaluated):
            self.left -= 1
            if self.left == 0:
                raise DeathError


def instant(candidate):
    """Training that takes no time: what comes out depends on the candidate alone."""
    clean, robust, flops = np.random.default_rng(zlib.crc32(candidate.id.encode())).random(3)
    objectives = {"clean_accuracy": clean, "robust_accuracy": robust * clean, "flops": 1e4 * flops}
    return Evaluation(candidate, "complete", objectives)


@dataclasses.dataclass(frozen=True)
class Jumbled:
    """Several workers that train in no time; who is done first is drawn."""

    workers: int = 3
    seed: int = 0

    def check(self, resources):
        pass

    @contextmanager
    def open(self, work, resources):
        yield _JumbledPool(self)


class _JumbledPool:
    answer = staticmethod(instant)

    def __init__(self, settings):
        self.workers = settings.workers
        self._generator = np.random.default_rng(settings.seed)
        self._queue, self._running = deque(), []

    def submit(self, job):
        self._queue.append(job)

    def withdraw(self):
        self._queue.clear()

    def events(self):
        while self._queue or self._running:
            while self._queue and len(self._running) < self.workers:
                self._running.append(self._queue.popleft())
            job = self._running.pop(self._generator.integers(len(self._running)))
            yield Outcome(self.answer(job.candidate), job, {"weights": WEIGHTS}, ({"epoch": 1.0},))


ONE = Jumbled(workers=1)


@pytest.fixture(scope="module", autouse=True)
def jumbled():
    EVALUATORS.register("jumbled")(Jumbled)
    yield
    del EVALUATORS._classes["jumbled"]


@pytest.fixture
def trained(monkeypatch):
    """Who was trained, by id."""
    ids = []

    def counting(candidate):
        ids.append(candidate.id)
        return instant(candidate)

    monkeypatch.setattr(_JumbledPool, "answer", staticmethod(counting))
    return ids


@pytest.fixture(scope="module")
def plan(tiny):
    budget = {"population": POPULATION, "generations": GENERATIONS}
    data = tiny()
    data["campaign"] |= {"name": "tiny", "algorithm": "steady_nsga2", "budget": budget, "storage": JOURNAL}
    return make_plan(Document(data, Place()))


def at(plan, evaluator=None, **campaign):
    """The plan with another evaluator, and what else."""
    campaign |= {"evaluator": evaluator} if evaluator is not None else {}
    return dataclasses.replace(plan, campaign=dataclasses.replace(plan.campaign, **campaign))


def rows(folder):
    """What must not depend on where, when and how often: all but times."""
    return [
        (e.generation, e.index, e.asked_after, e.told, e.candidate, e.status, e.objectives)
        for e in moosearch.Campaign(folder.root).evaluations
    ]


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory):
    folder = CampaignFolder(tmp_path_factory.mktemp("undisturbed") / "c")
    run(at(plan, ONE), folder)
    return folder


def test_one_worker_asks_after_every_tell(undisturbed):
    evaluations = moosearch.Campaign(undisturbed.root).evaluations
    assert [(e.generation, e.index) for e in evaluations] == [(g, i) for g in (1, 2, 3) for i in range(4)]
    assert [e.asked_after for e in evaluations] == list(range(BUDGET))
    assert [e.told for e in evaluations] == list(range(1, BUDGET + 1))
    assert moosearch.Campaign(undisturbed.root).finished


@pytest.mark.parametrize("storage", [pytest.param("", marks=pytest.mark.slow), JOURNAL])
def test_a_run_that_dies_after_every_candidate_equals_an_undisturbed_one(
    plan, tmp_path, trained, undisturbed, storage
):
    plan, folder = at(plan, ONE, storage=storage), CampaignFolder(tmp_path / "killed")
    for count in range(1, BUDGET + 1):
        with pytest.raises(DeathError):
            run(plan, folder, DieAfter(1))
        assert len(trained) == count
    run(plan, folder)
    assert rows(folder) == rows(undisturbed)
    assert max(Counter(trained).values()) == 1
    assert folder.front.read_text() == undisturbed.front.read_text()
    assert {p.name for p in folder.models.iterdir()} == {p.name for p in undisturbed.models.iterdir()}


@pytest.mark.rotated(4)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"), [(EventLog, "keep"), (StudyView, "append"), (StudyView, "announce")]
)
@pytest.mark.parametrize("number", [1, 5, 12])
def test_a_death_between_two_writes_changes_nothing(
    plan, tmp_path, trained, undisturbed, monkeypatch, owner, name, number, late
):
    folder = CampaignFolder(tmp_path / "killed")
    real = getattr(owner, name)
    calls = 0

    def dying(self, *arguments):
        nonlocal calls
        calls += 1
        if calls < number or late:
            real(self, *arguments)
        if calls == number:
            raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(DeathError):
            run(at(plan, ONE), folder)
    known = {e.candidate.id for e in moosearch.Campaign(folder.root).evaluations}
    trained.clear()
    run(at(plan, ONE), folder)
    assert rows(folder) == rows(undisturbed)
    assert not known & set(trained)


@pytest.mark.rotated(3)
@pytest.mark.parametrize(
    ("workers", "after"),
    [
        (1, 6),
        (2, 5),
        (5, 8),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in ((1, 1), (2, 11), (3, 4), (5, 2))),
    ],
)
def test_other_workers_go_on_in_the_recorded_order(plan, tmp_path, trained, workers, after):
    folder = CampaignFolder(tmp_path / "killed")
    with pytest.raises(DeathError):
        run(at(plan, Jumbled(3, seed=after)), folder, DieAfter(after))
    before = rows(folder)
    flying = {ask.candidate for ask in order_of(folder).asks} - set(order_of(folder).tells)
    run(at(plan, Jumbled(workers, seed=after + 1)), folder)
    assert sorted(before) == sorted(row for row in rows(folder) if row in before)
    assert flying <= {row[4].id for row in rows(folder)}
    assert max(Counter(trained).values()) == 1
    assert len(order_of(folder).tells) == BUDGET
    again = verbs.replay(folder.root, tmp_path / "again", overrides=["campaign.evaluator.workers=1"])
    assert rows(again.folder) == rows(folder)


def order_of(folder):
    """The order that the log tells of."""
    campaign = moosearch.Campaign(folder.root)
    return Order.of(campaign.evaluations, POPULATION, [*campaign.record.asks.values()])


def test_several_workers_are_kept_busy(plan, tmp_path, trained):
    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, Jumbled(3)), folder)
    assert [ask.after for ask in order_of(folder).asks] == [0, 0, *range(BUDGET - 2)]
    assert len(trained) == len(set(trained)) == BUDGET


def test_workers_that_come_later_are_used(plan, tmp_path, trained, monkeypatch):
    pool = _JumbledPool(Jumbled(workers=1))

    def arrive(event):
        if isinstance(event, Evaluated) and event.evaluation.told == 4:
            pool.workers = 3

    monkeypatch.setattr(Jumbled, "open", lambda *_: nullcontext(pool))
    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, ONE), folder, arrive)
    assert [ask.after for ask in order_of(folder).asks] == [0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9]


def test_who_was_in_flight_is_found_in_the_study_too(plan, tmp_path, trained, monkeypatch):
    """It is asked where the log was lost."""
    folder = CampaignFolder(tmp_path / "killed")
    with pytest.raises(DeathError):
        run(at(plan, Jumbled(3, seed=2)), folder, DieAfter(5))
    order = order_of(folder)
    numbers = {ask.candidate: ask.number for ask in order.asks}
    assert max(numbers[i] for i in order.tells) >= len(order.tells), "choose another seed: there is no gap"
    folder.events.unlink()
    run(at(plan, Jumbled(3, seed=3)), folder)
    assert order_of(folder).tells[:5] == order.tells
    assert max(Counter(trained).values()) == 1
    real = Record.evaluations
    monkeypatch.setattr(Record, "evaluations", lambda *_: [e for e in real(*_) if e.index != 1])
    with pytest.raises(CampaignError, match="cannot go on: the order of tells is not recorded"):
        run(at(plan, ONE), folder)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_wish_to_stop_is_heard(plan, tmp_path, trained, undisturbed, workers):
    folder, stop = CampaignFolder(tmp_path / "stopped"), Stop()

    class Wish(DieAfter):
        def __call__(self, event):
            try:
                super().__call__(event)
            except DeathError:
                stop.request()

    with pytest.raises(Stopped):
        run(at(plan, Jumbled(workers)), folder, Wish(5), stop)
    stored = rows(folder)
    assert len(stored) == len(trained) == 5 + workers - 1  # what ran was finished, nothing was begun
    run(at(plan, Jumbled(workers)), folder)
    assert set(map(repr, stored)) < set(map(repr, rows(folder)))
    assert max(Counter(trained).values()) == 1
    assert workers > 1 or rows(folder) == rows(undisturbed)


def test_what_another_version_recorded_is_refused(plan, tmp_path, trained, monkeypatch):
    folder = CampaignFolder(tmp_path / "killed")
    with pytest.raises(DeathError):
        run(at(plan, Jumbled(2)), folder, DieAfter(7))
    trained.clear()
    monkeypatch.setattr(Breeder, "breed", lambda _: [])
    with pytest.raises(CampaignError, match=r"asks for \w{12} where it asked for \w{12}, candidate 5 of the"):
        run(at(plan, Jumbled(2)), folder)
    assert trained == []


def test_generations_are_heard_in_order(plan, tmp_path, trained):
    heard = []

    def record(event):
        match event:
            case GenerationStarted(number, candidates):
                heard.append(("started", number, len(candidates)))
            case GenerationFinished(number, evaluations):
                heard.append(("finished", number, len(evaluations)))

    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, Jumbled(3)), folder, record)
    expected = []
    for number, flying in ((1, 3), (2, 3), (3, 3)):
        expected += [("started", number, flying), ("finished", number, number * POPULATION)]
    assert heard == expected
    table = [line.split(",") for line in folder.hypervolume.read_text().splitlines()[1:]]
    assert [int(row[1]) for row in table] == [4, 8, 12]
    volumes = [float(row[-1]) for row in table]
    assert volumes == sorted(volumes)
    heard.clear()
    run(at(plan, Jumbled(3)), folder, record)
    assert [event[:2] for event in heard] == [event[:2] for event in expected]


def test_failures_are_told_and_end_a_hopeless_campaign(plan, tmp_path, monkeypatch):
    def failing(candidate):
        return Evaluation(candidate, "failed", error="RuntimeError: no luck", failure="error")

    monkeypatch.setattr(_JumbledPool, "answer", staticmethod(failing))
    folder = CampaignFolder(tmp_path / "c")
    with pytest.raises(CampaignError, match=r"all 4 candidates of the first generation failed.*no luck"):
        run(at(plan, ONE), folder)
    assert len(rows(folder)) == 4
    with pytest.raises(CampaignError, match=r"all 4 candidates"):
        run(at(plan, ONE), folder)  # a resumed campaign is as hopeless
    assert len(rows(folder)) == 4


def test_an_exhausted_space_ends_the_search(tiny, tmp_path, trained):
    data = tiny()
    data["campaign"] |= {"name": "tiny", "algorithm": "steady_nsga2"}
    data["candidate"]["architecture"] = {"name": "small_cnn", "width": {"choice": [2, 4, 8]}, "depth": 2}
    data["candidate"]["training"] = {"epochs": 1, "loss": {"choice": ["cross_entropy", "trades"]}}
    finished = []

    def record(event):
        if isinstance(event, GenerationFinished):
            finished.append((event.number, len(event.evaluations)))

    for evaluator in (ONE, Jumbled(3), Jumbled(9)):
        finished.clear()
        folder = CampaignFolder(tmp_path / str(evaluator))
        run(at(make_plan(Document(data, Place())), evaluator), folder, record)
        assert len(rows(folder)) == 6
        assert finished == [(1, 4), (2, 6)]
        assert moosearch.Campaign(folder.root).finished


@pytest.mark.rotated(4)
@pytest.mark.parametrize(("source", "target"), [(2, 1), (3, 2), (1, 3), (5, 7)])
def test_a_replay_gives_the_same_whoever_trains(plan, tmp_path, trained, source, target):
    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, Jumbled(source, seed=4)), folder)
    trained.clear()
    again = verbs.replay(folder.root, tmp_path / "again", overrides=[f"campaign.evaluator.workers={target}"])
    assert rows(again.folder) == rows(folder)
    assert len(trained) == BUDGET
    assert again.folder.front.read_text() == folder.front.read_text()


@pytest.mark.rotated(3)
@pytest.mark.parametrize(("how", "after"), [("replay", 1), ("replay", 9), ("resume", 4)])
def test_a_replay_goes_on(plan, tmp_path, trained, how, after):
    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, Jumbled(3, seed=5)), folder)
    assert [e.told for e in moosearch.Campaign(folder.root).evaluations] != list(range(1, BUDGET + 1))
    trained.clear()
    arguments = {"overrides": ["campaign.evaluator.workers=1"]}
    with pytest.raises(DeathError):
        verbs.replay(folder.root, tmp_path / "again", observer=DieAfter(after), **arguments)
    if how == "replay":
        again = verbs.replay(folder.root, tmp_path / "again", **arguments)
    else:
        again = verbs.resume(tmp_path / "again", **arguments)
    assert rows(again.folder) == rows(folder)
    assert max(Counter(trained).values()) == 1


def test_what_cannot_be_replayed_is_refused(plan, tmp_path, trained):
    plan = at(plan, storage="")  # as a replay's is
    folder, other = CampaignFolder(tmp_path / "c"), CampaignFolder(tmp_path / "other")
    with pytest.raises(DeathError):
        run(at(plan, Jumbled(2)), folder, DieAfter(6))
    with pytest.raises(CampaignError, match="not finished"):
        verbs.replay(folder.root, tmp_path / "again")
    run(at(plan, Jumbled(2)), folder)
    with pytest.raises(CampaignError, match="this one"):
        verbs.replay(folder.root, folder.root)
    run(at(plan, ONE), other)
    with pytest.raises(CampaignError, match="a search of its own"):
        verbs.replay(folder.root, other.root)
    with pytest.raises(CampaignError, match=r"another campaign: campaign\.seed"):
        verbs.replay(folder.root, tmp_path / "again", overrides=["campaign.seed=8"])
    again = verbs.replay(folder.root, tmp_path / "again", overrides=["campaign.evaluator.workers=1"])
    order = json.loads(again.folder.order.read_text())
    for damage in ("{", json.dumps({"asks": [], "tells": [4]}), json.dumps(order | {"tells": []})):
        again.folder.order.write_text(damage)
        with pytest.raises(CampaignError, match="cannot go on"):
            verbs.resume(again.folder.root)


def test_a_generational_campaign_is_replayed_too(tiny, tmp_path, trained):
    overrides = ["campaign.name=tiny", "campaign.evaluator=jumbled"]
    source = moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    again = verbs.replay(source.folder.root, tmp_path / "again")
    assert again.folder.front.read_text() == source.folder.front.read_text()
    assert len(trained) == 16
    assert not again.folder.order.exists()


def test_the_command_says_whether_the_front_is_the_same(plan, tmp_path, trained, cli, monkeypatch):
    folder = CampaignFolder(tmp_path / "c")
    run(at(plan, Jumbled(3, seed=1)), folder)
    code, out, _ = cli("replay", folder.root, "--out", tmp_path / "again", "--evaluator", "jumbled")
    assert code == 0
    assert "the front is the same" in out

    def other(candidate):
        evaluation = instant(candidate)
        flops = evaluation.objectives["flops"] * (1 + 1e-6)
        return dataclasses.replace(evaluation, objectives={**evaluation.objectives, "flops": flops})

    monkeypatch.setattr(_JumbledPool, "answer", staticmethod(other))
    code, _, err = cli("replay", folder.root, "--out", tmp_path / "other", "--evaluator", "jumbled")
    assert code == 1
    assert "the front is another one" in err


def evaluation(identity, number, after, told):
    candidate = Candidate(identity, {}, {})
    place = {"generation": 1 + number // 2, "index": number % 2, "asked_after": after, "told": told}
    return Evaluation(candidate, "failed", **place)


def test_an_order_is_read_from_evaluations_and_asks():
    known = [evaluation("c", 2, 1, 2), evaluation("b", 1, 0, 1)]
    order = Order.of(known, 2, [Ask("c", 2, 1), Ask("a", 0, 0), Ask("d", 3, 2)])
    assert order == Order((Ask("a", 0, 0), Ask("b", 1, 0), Ask("c", 2, 1), Ask("d", 3, 2)), ("b", "c"))
    assert Order.of_json(order.to_json()) == order


@pytest.mark.parametrize(
    ("known", "flying", "message"),
    [
        ([evaluation("b", 1, 0, 1)], [], "asks is not recorded as a whole"),
        ([evaluation("a", 0, 0, 2)], [], "tells is not recorded as a whole"),
        ([evaluation("a", 0, 0, 1), evaluation("a", 1, 0, 2)], [], "as a whole"),
        ([evaluation("a", 0, 0, 1), evaluation("b", 1, 0, 1)], [], "tells is not"),
        ([evaluation("a", 0, 1, 1)], [], "contradict"),
        ([], [Ask("a", 0, 1)], "contradict"),
        ([evaluation("a", 0, 0, 1), evaluation("b", 1, 1, 2)], [Ask("c", 2, 0)], "contradict"),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused(known, flying, message):
    with pytest.raises(ValueError, match=message):
        Order.of(known, 2, flying)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.slow
def test_two_workers_on_ray_are_replayed_in_this_process(tiny, tmp_path):
    two = [
        "campaign.name=tiny",
        "campaign.algorithm=steady_nsga2",
        "campaign.evaluator={name: ray, workers: 2}",
    ]
    source = moosearch.search(tiny(), out=tmp_path / "c", overrides=two)
    assert [ask.after for ask in order_of(source.folder).asks] == [0, *range(7)]
    again = verbs.replay(source.folder.root, tmp_path / "again", overrides=["campaign.evaluator=serial"])
    assert rows(again.folder) == rows(source.folder)
    assert again.folder.front.read_text() == source.folder.front.read_text()
