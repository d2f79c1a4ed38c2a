"""Re-use: first individuals, the front of another campaign, and campaigns that are made longer."""

import dataclasses
import json
import shutil
import zlib
from contextlib import contextmanager

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save

import moosearch
from moosearch.api.verbs import replay
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.log import read_events
from moosearch.campaign.observer import Evaluated, WarmStarted
from moosearch.campaign.status import read_status
from moosearch.errors import CampaignError, Place, SpecError
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import EVALUATORS, Outcome
from moosearch.plan.plan import make_plan
from moosearch.plan.recipes import FROM, complete, genomes, nearest_value, option_of
from moosearch.plan.single import single
from moosearch.run import run as runs
from moosearch.run.warm_start import translated
from moosearch.space import Choice, Integer, Real
from moosearch.space.files import Document, load

pytestmark = pytest.mark.rotated(3, group="reuse")  # whole campaigns

WEIGHTS = save({"weight": np.zeros(1)})
RECIPES = [
    {"training.loss": "trades", "training.attack": "mixed", "training.attack.mixed.alpha0_min": 0.9},
    {FROM: "a paper", "architecture": "lenet", "architecture.lenet.width": 0.08},
]


class DeathError(Exception):
    """Stands for a death of the process."""


class Recorder:
    def __init__(self, die_after=None):
        self.trained, self.warm, self.die_after = [], [], die_after

    def __call__(self, event):
        match event:
            case WarmStarted(lines):
                self.warm.append(lines)
            case Evaluated(evaluation):
                self.trained.append(evaluation.candidate.id)
                if len(self.trained) == self.die_after:
                    raise DeathError


@dataclasses.dataclass(frozen=True)
class Instant:
    """Workers that train in no time; the last of those that run is done first."""

    workers: int = 1

    def check(self, resources):
        pass

    @contextmanager
    def open(self, work, resources):
        yield _Pool(self.workers, work.constraints)


class _Pool:
    def __init__(self, workers, constraints):
        self.workers, self._constraints, self._queue = workers, constraints, []

    def submit(self, job):
        self._queue.append(job)

    def withdraw(self):
        self._queue.clear()

    def events(self):
        while self._queue:
            job = self._queue.pop(min(self.workers, len(self._queue)) - 1)
            clean, robust, flops = np.random.default_rng(zlib.crc32(job.candidate.id.encode())).random(3)
            objectives = {"clean_accuracy": clean, "robust_accuracy": robust * clean, "flops": 1e4 * flops}
            violations = {str(bound): bound.violation(objectives[bound.key]) for bound in self._constraints}
            evaluation = Evaluation(job.candidate, "complete", objectives, violations=violations)
            yield Outcome(evaluation, job, {"weights": WEIGHTS}, ({"epoch": 1.0},))


@pytest.fixture(scope="module", autouse=True)
def instant():
    EVALUATORS.register("instant")(Instant)
    yield
    del EVALUATORS._classes["instant"]


@pytest.fixture(scope="module")
def space_file(tiny):
    """The tiny space, trained in no time, with what else of a campaign; a journal is faster than SQLite."""

    def data(generations=2, **campaign):
        tree = tiny()
        budget = {"population": 4, "generations": generations}
        tree["campaign"] |= {"name": "tiny", "evaluator": "instant", "budget": budget, "storage": "journal"}
        tree["campaign"] |= campaign
        return tree

    return data


@pytest.fixture(scope="module")
def undisturbed(space_file, tmp_path_factory):
    """Folders of finished campaigns, each searched once; tests must not change them."""
    folders = {}

    def folder(generations=2, **campaign):
        key = json.dumps([generations, campaign])
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("undisturbed") / "c"
            moosearch.search(space_file(generations, **campaign), out=folders[key])
        return folders[key]

    return folder


def plan_of(data):
    return make_plan(Document(data, Place()))


def check_equal(folder, other):
    """Two campaigns found the same, to the byte; log, ledger and campaign.yaml say the same of it."""
    mine, theirs = moosearch.Campaign(folder), moosearch.Campaign(other)
    for name in ("front", "candidates", "hypervolume"):
        assert getattr(mine.folder, name).read_bytes() == getattr(theirs.folder, name).read_bytes()
    assert mine.header == theirs.header
    assert mine.finished
    assert {p.name for p in mine.folder.models.iterdir()} == {p.name for p in theirs.folder.models.iterdir()}
    ids = [e["candidate"]["id"] for e in read_events(mine.folder.events) if e["event"] == "evaluated"]
    assert sorted(ids) == sorted(e.candidate.id for e in theirs.evaluations)
    assert load(mine.folder.spec).data == load(theirs.folder.spec).data
    assert mine.record.description["spec"] == load(theirs.folder.spec).data


# First individuals


@pytest.mark.rotated(3)
@pytest.mark.parametrize("algorithm", ["nsga2", "steady_nsga2", "random"])
@pytest.mark.parametrize("workers", [1, 3])
def test_recipes_take_the_first_places(space_file, undisturbed, tmp_path, algorithm, workers):
    evaluator = {"name": "instant", "workers": workers}
    data = space_file(initial=RECIPES, algorithm=algorithm, evaluator=evaluator)
    campaign = moosearch.search(data, out=tmp_path / "c")
    first, second = (e.candidate.genome for e in campaign.evaluations[:2])
    assert (first["training.loss"], first["training.attack.mixed.alpha0_min"]) == ("trades", 0.9)
    assert (second["architecture"], second["architecture.lenet.width"]) == ("lenet", 0.08)
    cold = moosearch.Campaign(undisturbed(algorithm=algorithm, evaluator=evaluator))
    drawn = [e.candidate.id for e in cold.evaluations[:2]]
    assert [e.candidate.id for e in campaign.evaluations[2:4]] == drawn


def test_a_recipe_is_the_candidate_that_train_makes_of_it(tiny):
    """What is not named takes its first option or middle value, in both."""
    assignments = [f"{path}={value}" for path, value in RECIPES[0].items()]
    trained = single(Document(tiny(), Place("tiny.yaml")), assignments).data["candidate"]
    plan = plan_of(tiny() | {"campaign": tiny()["campaign"] | {"name": "t", "initial": RECIPES}})
    (first, second) = plan.problem.initial
    assert plan.space.candidate(first).spec == trained
    # Inactive genes are drawn, so that mutation finds them at different places.
    assert first["architecture.lenet.width"] not in (0.08, second["architecture.lenet.width"])
    assert plan.problem.initial == plan.problem.initial
    assert set(first) == set(plan.space.genes())


def test_recipes_are_written_out_and_make_another_campaign(space_file, tmp_path):
    folder = tmp_path / "c"
    data = space_file(initial=[*RECIPES, RECIPES[0] | {"training.optimizer.lr": 0.0548}, *RECIPES])
    written = load(moosearch.search(data, out=folder).folder.spec).data["campaign"]["initial"]
    assert len(written) == 3 - (written[0]["training.optimizer.lr"] == 0.0548)
    assert written[1][FROM] == "a paper"
    assert set(written[0]) == set(moosearch.Campaign(folder).evaluations[0].candidate.genome)
    recorder = Recorder()
    moosearch.search(data, out=folder, observer=recorder)
    data["campaign"]["initial"][1] = RECIPES[1] | {FROM: "another paper"}  # a word of it is no other search
    moosearch.search(data, out=folder, observer=recorder)
    assert recorder.trained == []
    with pytest.raises(CampaignError, match=r"another campaign: campaign\.initial is .* there and"):
        moosearch.search(space_file(), out=folder)


@pytest.mark.rotated(4)
@pytest.mark.parametrize("after", [1, 6])
@pytest.mark.parametrize("algorithm", ["nsga2", "steady_nsga2"])
def test_resume_and_replay_of_recipes_are_exact(space_file, undisturbed, tmp_path, algorithm, after):
    data = space_file(initial=RECIPES, algorithm=algorithm)
    whole = undisturbed(initial=RECIPES, algorithm=algorithm)
    with pytest.raises(DeathError):
        moosearch.search(data, out=tmp_path / "killed", observer=Recorder(after))
    moosearch.resume(tmp_path / "killed")
    check_equal(tmp_path / "killed", whole)
    again = replay(whole, tmp_path / "again", overrides=["campaign.evaluator.workers=3"])
    assert again.folder.front.read_bytes() == (whole / "front.csv").read_bytes()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"training.los": "trades"}, ["campaign.initial.0.training.los", "no gene", "'training.loss'"]),
        ({"training.loss": "trade"}, ["training.loss", "'trade'", "'trades'", "cross_entropy"]),
        ({"training.optimizer.lr": 0.5}, ["training.optimizer.lr", "0.5", "[0.01, 0.3]", "nearest is 0.3"]),
        ({"architecture.small_cnn.width": 3}, ["width", "got 3", "[2, 8, 2]", "nearest is"]),
        ({"architecture.small_cnn.width": 2.5}, ["width", "2.5", "integer"]),
        ({"training.optimizer.lr": [1]}, ["training.optimizer.lr", "number"]),
        ({"architecture.lenet.width": 0.07}, ["not active", "architecture=lenet"]),
        ({FROM: 3}, ["campaign.initial.0.from", "got 3", "text"]),
        ([1], ["campaign.initial.0", "dictionary"]),
    ],
)
def test_wrong_recipes_are_refused_by_name(tiny_file, cli, recipe, words):
    data = yaml.safe_load(tiny_file.read_text())
    data["campaign"]["initial"] = [recipe]
    tiny_file.write_text(yaml.dump(data))
    code, _, err = cli("validate", tiny_file)
    assert code == 2
    assert err.count("\n") == 1
    assert f"{tiny_file}:" in err
    for word in words:
        assert word in err


def test_more_recipes_than_a_generation_and_grids_are_refused(space_file):
    recipes = [{"training.optimizer.lr": 0.1 + 0.01 * n} for n in range(5)]
    with pytest.raises(SpecError, match=r"campaign\.initial: got 5 different recipes.*population is 4"):
        plan_of(space_file(initial=recipes))
    assert len(plan_of(space_file(initial=[*recipes[:4], recipes[0]])).campaign.initial) == 4
    data = space_file(algorithm="grid", initial=[{"training.loss": "trades"}])
    data["candidate"]["architecture"] = "small_cnn"
    data["candidate"]["training"] = {"epochs": 1, "loss": {"choice": ["cross_entropy", "trades"]}}
    with pytest.raises(SpecError, match=r"campaign\.initial: grid"):
        plan_of(data)


@pytest.mark.parametrize(
    ("gene", "value", "nearest"),
    [
        (Real(0.1, 0.5), 0.3, 0.3),
        (Real(0.1, 0.5), 7, 0.5),
        (Real(1e-4, 1, log=True), -3, 1e-4),
        (Integer(2, 8, 3), 6, 5),
        (Integer(2, 8, 3), 7, 8),
        (Integer(2, 8, 3), 100, 8),
        (Integer(1, 512, log=True), 7.4, 7),
        (Integer(2, 8), 4.0, 4),
        (Choice((0.1, 0.5), (0.1, 0.5)), "1/3", 0.5),
        (Choice(("a", "b"), ("a", "b")), 1, None),
        (Real(0.1, 0.5), "fast", None),
        (Real(0.1, 0.5), True, None),
    ],
)
def test_the_nearest_value_is_one_of_the_genes(gene, value, nearest):
    found = nearest_value(gene, value)
    assert found == nearest
    assert type(found) is type(nearest)
    assert found is None or gene.contains(found)


def test_options_are_meant_by_text_or_as_numbers():
    tasks = Choice(("odd_even", "odd_even+prime"), (["odd_even"], ["odd_even", "prime"]))
    assert option_of(tasks, ["odd_even", "prime"]) == "odd_even+prime"
    assert option_of(Choice((0.5, 2), (0.5, 2)), "1/2") == 0.5
    assert option_of(Choice((0.5, 2), (0.5, 2)), 2.0) == 2
    assert option_of(Choice((False, True), (False, True)), True) is True
    assert option_of(Choice((0, 1), (0, 1)), True) is None


def test_an_export_and_a_training_of_a_space_with_recipes_have_none(space_file):
    tree = single(Document(space_file(initial=RECIPES), Place("tiny.yaml")), []).data
    assert tree["campaign"]["initial"] == []
    with pytest.raises(SpecError, match="not with `train`"):
        single(Document(space_file(), Place("tiny.yaml")), ["campaign.initial=[]"])


# Warm start


@pytest.fixture
def source(undisturbed):
    """A finished campaign of another seed."""
    return moosearch.Campaign(undisturbed(4, seed=11))


def test_a_warm_start_takes_the_front(space_file, source, tmp_path):
    recorder = Recorder()
    front = [e.candidate for e in source.front]
    assert 2 <= len(front) <= 8
    copy = shutil.copytree(source.folder.root, tmp_path / "source")
    data = space_file(budget={"population": 8, "generations": 2})
    campaign = moosearch.search(data, out=tmp_path / "c", warm_start=copy, observer=recorder)
    assert [e.candidate for e in campaign.evaluations[: len(front)]] == front
    ((line, *genes),) = recorder.warm
    assert line.startswith(f"warm start from tiny ({copy}): {len(front)} recipes, its whole front;")
    assert all(gene.split()[1] == "taken" and ";" not in gene for gene in genes)
    written = load(campaign.folder.spec).data["campaign"]["initial"]
    assert [recipe[FROM] for recipe in written] == [f"tiny/{candidate.id}" for candidate in front]
    # Nothing needs the other campaign any more.
    shutil.rmtree(copy)
    (campaign.folder.root / "campaign.yaml").unlink()
    recorder = Recorder()
    moosearch.resume(campaign.folder.root, generations=3, observer=recorder)
    assert len(recorder.trained) == 8


@pytest.mark.slow
def test_of_a_large_front_those_that_lie_farthest_apart_are_taken(space_file, source, tmp_path, cli):
    (tmp_path / "s.yaml").write_text(yaml.dump(space_file(initial=RECIPES[:1])))
    arguments = ("search", tmp_path / "s.yaml", "--out", tmp_path / "c", "--warm-start", source.folder.root)
    code, out, _ = cli(*arguments)
    assert code == 0
    written = load(tmp_path / "c" / "campaign.yaml").data["campaign"]["initial"]
    front = source.front
    assert len(front) > 3
    assert FROM not in written[0]
    taken = {recipe[FROM].removeprefix("tiny/") for recipe in written[1:]}
    assert len(taken) == 3
    assert {front.best(info.key).candidate.id for info in front.objectives} <= taken or len(taken) < 3
    assert (
        f"warm start from tiny ({source.folder.root}): 3 recipes, those of its front's {len(front)} farthest"
        in out
    )
    assert "  training.loss " in out
    again = cli(*arguments)
    assert again[0] == 0  # the same again goes on, here with nothing to do


def test_two_fronts_share_a_generation(space_file, undisturbed, source, tmp_path):
    fronts = [source.folder.root, undisturbed(4, seed=12, name="second")]
    campaign = moosearch.search(space_file(), out=tmp_path / "c", warm_start=fronts)
    written = load(campaign.folder.spec).data["campaign"]["initial"]
    assert [recipe[FROM].split("/")[0] for recipe in written] == ["tiny", "tiny", "second", "second"]


def test_what_does_not_fit_is_changed_filled_or_left_out_and_told(space_file):
    data = space_file()
    data["candidate"] = {
        "dataset": {"name": "digits", "auxiliary": ["odd_even"]},
        "architecture": {
            "choice": [
                {"name": "small_cnn", "width": {"choice": [4, 16]}, "depth": {"integer": [2, 4]}},
                {"name": "small_resnet"},
            ]
        },
        "training": {
            "epochs": {"integer": [2, 6, 2]},
            "batch_size": {"choice": [64, 256]},
            "attack": {"choice": [{"name": "pgd", "label": "sta", "steps": {"integer": [2, 6]}}, "mixed"]},
            "loss": {"choice": ["cross_entropy", {"name": "trades", "beta": {"real": [1, 8]}}]},
            "optimizer": {"lr": {"log_real": [0.05, 0.2]}, "momentum": {"real": [0.5, 0.9]}},
        },
    }
    space = plan_of(data).space
    spec = {
        "architecture": {"name": "small_cnn", "width": 12, "depth": 3},
        "training": {
            "epochs": 9,
            "batch_size": 256,
            "attack": {"name": "pgd", "steps": 9},
            "loss": {"name": "alp", "weight": 0.3},
            "optimizer": {"lr": 0.3, "nesterov": True},
        },
    }
    genome = {
        "architecture": "small_cnn",
        "architecture.small_cnn.width": 12,
        "training.loss": "alp",
        "training.loss.alp.weight": 0.3,
        "training.optimizer.lr": 0.3,
    }
    member = Evaluation(Candidate("0123456789ab", genome, spec), "complete")
    warm = translated(space, [member, member], "other", "there", 7)
    assert warm.recipes[0] == {
        FROM: "other/0123456789ab",
        "architecture": "small_cnn",
        "architecture.small_cnn.width": 16,  # the nearest number
        "architecture.small_cnn.depth": 3,  # fixed there, a gene here
        "training.epochs": 6,
        "training.batch_size": 256,
        "training.attack": "sta",  # the same plug-in under another label
        "training.attack.sta.steps": 6,
        "training.loss": "cross_entropy",  # the first option
        "training.optimizer.lr": 0.2,
        "training.optimizer.momentum": 0.7,
    }
    kinds = {taken.gene: taken.kind for taken in warm.genes}
    assert [path for path, kind in kinds.items() if kind == "filled"] == ["training.optimizer.momentum"]
    assert {path for path, kind in kinds.items() if kind == "taken"} == {
        "architecture",
        "architecture.small_cnn.depth",
        "training.batch_size",
    }
    assert warm.left_out == {"training.loss.alp.weight": 2}
    told = "\n".join(warm.lines())
    assert "2 recipes, those of its front's 7 farthest apart" in told
    assert told.endswith("  some are the same here: of different recipes there are 1")
    for line in (
        "architecture.small_cnn.width  changed 2: 12 -> 16 (2 times)",
        "training.loss                 changed 2: alp -> cross_entropy (2 times)",
        "training.optimizer.momentum   filled 2: 0.7 (2 times)",
        "training.loss.alp.weight      left out 2: nothing here takes it",
        "architecture                  taken 2",
    ):
        assert f"  {line}" in told
    assert complete(space, warm.recipes, Place()) == [warm.recipes[0]]


def test_no_warm_start_from_nothing(space_file, undisturbed, source, tmp_path):
    with pytest.raises(CampaignError, match="no campaign here"):
        moosearch.search(space_file(), out=tmp_path / "c", warm_start=tmp_path / "nowhere")
    infeasible = undisturbed(constraints=["clean_accuracy >= 2"])
    with pytest.raises(CampaignError, match="its front is empty"):
        moosearch.search(space_file(), out=tmp_path / "c", warm_start=infeasible)
    recipes = [{"training.optimizer.lr": 0.1 + 0.01 * n} for n in range(4)]
    with pytest.raises(CampaignError, match=r"1 campaign: .* of which recipes take 4"):
        moosearch.search(space_file(initial=recipes), out=tmp_path / "c", warm_start=source.folder.root)
    assert not (tmp_path / "c").exists()


def test_genomes_are_drawn_by_the_seed(tiny):
    space = plan_of(tiny() | {"campaign": tiny()["campaign"] | {"name": "t"}}).space
    recipes = complete(space, RECIPES, Place())
    one, same, other = (genomes(space, recipes, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


# Extension


@pytest.mark.rotated(3)
@pytest.mark.parametrize("algorithm", ["nsga2", "steady_nsga2", "random"])
def test_an_extended_campaign_is_the_one_that_was_started_longer(undisturbed, tmp_path, algorithm):
    how, setting = ("set", "") if algorithm == "nsga2" else ("option", "journal")
    folder = shutil.copytree(undisturbed(algorithm=algorithm, storage=setting), tmp_path / "c")
    recorder = Recorder()
    given = {"option": {"generations": 4}, "set": {"overrides": ["campaign.budget.generations=4"]}}[how]
    campaign = moosearch.resume(folder, observer=recorder, **given)
    assert len(recorder.trained) == 8
    check_equal(folder, undisturbed(4, algorithm=algorithm, storage=setting))
    assert read_status(campaign).generations == 4
    assert read_status(campaign).total == 16
    moosearch.resume(folder)
    check_equal(folder, undisturbed(4, algorithm=algorithm, storage=setting))


@pytest.mark.rotated(2)
@pytest.mark.parametrize("algorithm", ["nsga2", "steady_nsga2"])
def test_a_campaign_that_was_stopped_may_become_longer_or_shorter(
    space_file, undisturbed, tmp_path, algorithm
):
    with pytest.raises(DeathError):
        moosearch.search(space_file(4, algorithm=algorithm), out=tmp_path / "c", observer=Recorder(10))
    for total in (3, 5):
        folder = shutil.copytree(tmp_path / "c", tmp_path / f"{total}")
        moosearch.resume(folder, generations=total)
        check_equal(folder, undisturbed(total, algorithm=algorithm))


@pytest.mark.slow
def test_a_real_campaign_is_extended_to_the_byte(finished, tiny, tmp_path):
    overrides = ["campaign.name=tiny", "campaign.keep=all", "campaign.budget.generations=3"]
    long = moosearch.search(tiny(), out=tmp_path / "long", overrides=overrides)
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    extended = moosearch.resume(folder, generations=3)
    assert extended.folder.front.read_bytes() == long.folder.front.read_bytes()
    assert extended.folder.hypervolume.read_bytes() == long.folder.hypervolume.read_bytes()
    tables = [pd.read_csv(campaign.folder.candidates) for campaign in (extended, long)]
    mine, theirs = (table.loc[:, ~table.columns.str.startswith("seconds_")] for table in tables)
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


WRITES = ["campaign.yaml", "extended", "description", "header", "finished", "current"]
"""What an extension writes, in this order; the last one is the search's."""


@pytest.mark.rotated(4)
@pytest.mark.parametrize(
    ("number", "setting"), [*((number, "journal") for number in range(len(WRITES))), (1, ""), (3, "")]
)
def test_a_death_between_any_two_writes_leaves_a_campaign_that_goes_on(
    undisturbed, tmp_path, monkeypatch, number, setting
):
    """Killed before the write of this number, it is the old campaign or the new one, and either can go on."""
    folder = shutil.copytree(undisturbed(storage=setting), tmp_path / "c")
    written = []

    def dying(real, name_of):
        def write(self, *arguments, **more):
            name = name_of(self, *arguments)
            if name is not None:
                written.append(f"{name} again" if name in written else name)
                if len(written) > number:
                    raise DeathError
            return real(self, *arguments, **more)

        return write

    attribute = dying(optuna.Study.set_user_attr, lambda _, key, *_rest: key)
    event = dying(EventLog.append, lambda _, kind: kind if kind == "extended" else None)
    monkeypatch.setattr(optuna.Study, "set_user_attr", attribute)
    monkeypatch.setattr(EventLog, "append", event)
    monkeypatch.setattr(runs, "write_atomically", dying(runs.write_atomically, lambda path, _: path.name))
    with pytest.raises(DeathError):
        moosearch.resume(folder, generations=3)
    monkeypatch.undo()
    assert written == WRITES[: number + 1]
    planned = load(folder / "campaign.yaml").data["campaign"]["budget"]["generations"]
    assert planned == (2 if number < 1 else 3)
    before = moosearch.Campaign(folder)
    assert len(before.evaluations) == 8
    assert before.finished == (number < 2)
    assert read_status(before).generations == (2 if number < 2 else 3)
    if planned == 2:
        asked_again = shutil.copytree(folder, tmp_path / "asked_again")
        moosearch.resume(asked_again, generations=3)
        check_equal(asked_again, undisturbed(3, storage=setting))
    moosearch.resume(folder)
    check_equal(folder, undisturbed(planned, storage=setting))


@pytest.mark.parametrize("lost", [["campaign.yaml"], ["campaign.yaml", "events.jsonl"], ["study.journal"]])
def test_what_is_lost_of_an_extended_campaign_is_restored(undisturbed, tmp_path, lost):
    folder = shutil.copytree(undisturbed(), tmp_path / "c")
    moosearch.resume(folder, generations=3)
    for name in lost:
        (folder / name).unlink()
    moosearch.resume(folder)
    check_equal(folder, undisturbed(3))
    extended = [e for e in read_events(folder / "events.jsonl") if e["event"] == "extended"]
    assert len(extended) == ("events.jsonl" not in lost)


def test_what_cannot_be_extended_says_why(space_file, undisturbed, tmp_path, cli):
    folder = shutil.copytree(undisturbed(3), tmp_path / "c")
    before = (folder / "campaign.yaml").read_bytes()
    code, _, err = cli("resume", folder, "--generations", 2)
    assert code == 2
    assert "campaign.budget.generations: got 2, expected at least 3" in err
    assert (folder / "campaign.yaml").read_bytes() == before
    assert moosearch.Campaign(folder).finished
    code, _, err = cli("resume", folder, "--generations", 0)
    assert code == 2
    with pytest.raises(CampaignError, match=r"another campaign: campaign\.seed"):
        moosearch.resume(folder, generations=4, overrides=["campaign.seed=8"])
    with pytest.raises(CampaignError, match=r"resume .* \(and --generations N"):
        moosearch.search(space_file(5), out=folder)


def test_a_grid_and_a_replay_are_not_extended(space_file, undisturbed, tmp_path):
    data = space_file(1, algorithm="grid")
    data["candidate"]["architecture"] = "small_cnn"
    data["candidate"]["training"] = {"epochs": {"integer": [1, 12]}}
    moosearch.search(data, out=tmp_path / "grid")
    with pytest.raises(CampaignError, match="a grid is planned as a whole"):
        moosearch.resume(tmp_path / "grid", generations=3)
    assert len(moosearch.Campaign(tmp_path / "grid").evaluations) == 4
    replay(undisturbed(algorithm="steady_nsga2"), tmp_path / "again")
    with pytest.raises(CampaignError, match="repeats another search"):
        moosearch.resume(tmp_path / "again", generations=3)
    assert moosearch.resume(tmp_path / "again").finished


def test_several_workers_go_on_in_an_order_that_can_be_repeated(undisturbed, tmp_path):
    evaluator = {"name": "instant", "workers": 3}
    folder = shutil.copytree(undisturbed(algorithm="steady_nsga2", evaluator=evaluator), tmp_path / "c")
    extended = moosearch.resume(folder, generations=4)
    assert [e.told for e in sorted(extended.evaluations, key=lambda e: e.told)] == list(range(1, 17))
    again = replay(folder, tmp_path / "again", overrides=["campaign.evaluator.workers=1"])
    assert [e.candidate for e in again.evaluations] == [e.candidate for e in extended.evaluations]


def test_a_confirmation_is_kept_and_said_to_be_of_an_older_front(finished, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("moosearch.judging.masking.checks", lambda *_, **__: {})
    monkeypatch.setattr("moosearch.report.plots.front.save", lambda *_: [])
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    overrides = ["campaign.confirmation={attacks: [fgsm], seeds: 1, images: 40}"]
    moosearch.confirm(folder, rules=["knee"], overrides=overrides)
    record = next(CampaignFolder(folder).confirmed.glob("*/1.json"))
    kept = record.read_bytes()
    code, out, _ = cli("resume", folder, "--generations", 3)
    assert code == 0
    assert "this confirmation is of an older front, or of a part of it" in out
    assert "--pick front" in out
    assert record.read_bytes() == kept


def test_a_campaign_that_confirms_at_its_end_confirms_its_new_front(space_file, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("moosearch.run.confirm.check", lambda _: None)
    monkeypatch.setattr("moosearch.run.confirm.confirm", lambda *given, **_: asked.append(given[2]))
    campaign = moosearch.search(space_file(confirmation={"at_end": True}), out=tmp_path / "c")
    member = campaign.evaluations[0].candidate.id
    plan = {"spec": {}, "settings": {}, "members": {member: 1}}
    campaign.folder.confirmed.mkdir()
    campaign.folder.confirmation.write_text(json.dumps(plan))
    moosearch.resume(campaign.folder.root, generations=3)
    assert asked == [["front"], ["front", member]]
