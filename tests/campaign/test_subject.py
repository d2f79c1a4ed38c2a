"""Whom to judge: candidates of a campaign and exported models, and what is wrong with folders."""

import json
import shutil

import pytest
import torch

import moosearch
from moosearch.analysis.subject import trained
from moosearch.attacks import Threat
from moosearch.attacks.gradient import Pgd
from moosearch.data.digits import Digits
from moosearch.errors import MooSearchError
from moosearch.judging import correct_clean, fraction
from moosearch.plan.spec import CampaignSpec
from moosearch.training.objectives import CleanAccuracy, RobustAccuracy


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory, skip_programs):
    """An export of the knee; its programs, which are not read here, are empty."""
    with pytest.MonkeyPatch.context() as patch:
        skip_programs(patch)
        return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


@pytest.fixture
def damaged(exported, tmp_path):
    """A copy of the export that may be damaged."""
    return shutil.copytree(exported, tmp_path / "damaged")


@pytest.fixture
def campaign(finished, tmp_path):
    """A copy of the campaign that may be damaged."""
    return shutil.copytree(finished.folder.root, tmp_path / "campaign")


def test_candidates_are_the_networks_that_the_search_measured(finished):
    val = Digits().load().val
    models = trained(finished.folder.root, ("front",))
    assert [model.name for model in models] == [e.candidate.id for e in finished.front]
    for model, evaluation in zip(models, finished.front, strict=True):
        assert fraction(correct_clean(model.net, val)) == evaluation.objectives["clean_accuracy"]
        assert model.objectives == evaluation.objectives
        assert model.threats == (Threat("linf", 0.1),)
        assert (model.seed, model.shape) == (3, (1, 8, 8))
        assert [task.name for task in model.tasks] == ["main", "odd_even"]
        assert model.folder == finished.folder.root / "evaluations" / model.name


def test_rules_choose_each_candidate_once_in_their_order(finished):
    best, knee = finished.front.best("flops").candidate.id, finished.front.knee().candidate.id
    others = [e.candidate.id for e in finished.evaluations if e.candidate.id not in (best, knee)]
    models = trained(finished.folder.root, ("best:flops", "knee", others[0], best[:6]))
    assert [model.name for model in models] == list(dict.fromkeys([best, knee, others[0]]))


def test_an_export_is_the_same_network_without_campaign_and_data(exported, finished, monkeypatch):
    monkeypatch.setattr(Digits, "read", None)
    (model,) = trained(exported, ("knee",))
    (original,) = trained(finished.folder.root, ("knee",))
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model.net(x), original.net(x))
    assert [task.name for task in model.tasks] == ["main"]
    for field in ("name", "shape", "threats", "objectives", "seed"):
        assert getattr(model, field) == getattr(original, field)
    assert model.folder == exported / "evaluations"
    assert [m.name for m in trained(exported, ("front", model.name[:5]))] == [model.name]


def test_threats_are_those_of_all_robust_accuracies_once_and_in_order():
    far, near, round_ = Pgd(eps=0.3), Pgd(eps=0.1), Pgd(eps=0.5, norm="l2")
    objectives = (
        CleanAccuracy(),
        RobustAccuracy(attacks=(far, near)),
        RobustAccuracy(attacks=(round_, Pgd(eps=0.3, steps=3)), label="other"),
    )
    found = CampaignSpec("c", objectives=objectives).threats
    assert found == (Threat("linf", 0.3), Threat("linf", 0.1), Threat("l2", 0.5))
    assert CampaignSpec("c", objectives=(CleanAccuracy(),)).threats == ()


def refusal(folder, rules=("knee",)):
    """Return the line that the user would see."""
    with pytest.raises(MooSearchError) as caught:
        trained(folder, rules)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_folders_that_are_neither_are_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "neither a campaign" in refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "no such folder" in refusal(tmp_path / "file")


@pytest.mark.parametrize("rule", ["best:flps", "zzz", ""])
def test_rules_that_fit_nothing_are_refused(finished, exported, rule):
    assert f"'{rule.removeprefix('best:')}'" in refusal(finished.folder.root, (rule,))
    assert f"'{rule}'" in refusal(exported, (rule,))


def test_damaged_weights_are_refused(campaign, damaged):
    identity = trained(campaign)[0].name
    path = campaign / "models" / identity / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "not the candidate's weights" in refusal(campaign)
    path.unlink()
    assert "weights are not there" in refusal(campaign)
    path = damaged / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "do not belong together" in refusal(damaged)
    path.unlink()
    assert "`weights.safetensors` is missing" in refusal(damaged)


@pytest.mark.parametrize("key", ["candidate", "objectives", "input", "output"])
def test_manifests_of_other_versions_are_refused(damaged, key):
    manifest = json.loads((damaged / "manifest.json").read_text())
    del manifest[key]
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    assert f"'{key}'" in refusal(damaged)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"input": 3}'])
def test_what_is_no_manifest_is_refused(damaged, text):
    (damaged / "manifest.json").write_text(text)
    assert "manifest.json" in refusal(damaged)


@pytest.mark.parametrize("text", ["", "[]", "a: b", "candidate: {dataset: digits}"])
def test_what_is_no_spec_is_refused(damaged, text):
    (damaged / "spec.yaml").write_text(text)
    assert "spec.yaml" in refusal(damaged)


def test_a_failed_candidate_is_refused(tiny, tmp_path):
    data = tiny() | {"campaign": {"name": "c"}}
    data["candidate"]["training"]["optimizer"] = {"lr": 1e30}
    (evaluation,) = moosearch.train(data, out=tmp_path / "c").evaluations
    assert evaluation.status == "failed"
    assert f"candidate {evaluation.candidate.id} failed" in refusal(
        tmp_path / "c", (evaluation.candidate.id,)
    )
