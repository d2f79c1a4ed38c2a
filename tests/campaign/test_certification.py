"""Certified accuracy lies under the accuracy that attacks leave; what cannot be verified is refused."""

import itertools
import json

import pytest

import moosearch
from moosearch.analysis.certification import CONTRADICTED, PROTOCOL, certification
from moosearch.analysis.setup import setups
from moosearch.errors import SpecError
from moosearch.verify import Effort
from moosearch.verify.certify import Certificate

EPS = 0.05
MOVED = "moved to a command of their own: moosearch neighborhoods DIR."


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Two networks that were trained a little longer than the tiny campaign's."""
    space = tiny()
    space["campaign"]["budget"] = {"population": 2, "generations": 1}
    space["candidate"]["architecture"] = {
        "choice": [{"name": "shallow_cnn", "width": 4}, {"name": "small_cnn", "width": 4, "depth": 2}]
    }
    space["candidate"]["training"] |= {
        "epochs": 6,
        "batch_size": 64,
        "attack": {"name": "pgd", "eps": 0.1, "step": 0.05, "steps": 3},
        "loss": "cross_entropy",
        "optimizer": {"kind": "adamw", "lr": 0.02, "schedule": "one_cycle"},
    }
    folder = tmp_path_factory.mktemp("certified") / "c"
    return moosearch.search(space, out=folder, overrides=["campaign.keep=all", "campaign.seed=1"])


def verified(folder, *, effort=None, workers=1, **given):
    return certification(setups(folder, PROTOCOL, **given), effort=effort, workers=workers)


@pytest.fixture(scope="module")
def ids(trained):
    return [e.candidate.id for e in trained.evaluations]


@pytest.mark.parametrize(
    ("images", "attacks"), [(6, "pgd20"), pytest.param(20, None, marks=pytest.mark.slow)]
)
def test_proofs_lie_under_attacks(trained, ids, images, attacks):
    vulnerable = 0
    for found in verified(
        trained.folder.root, rules=ids, eps=EPS, images=images, attacks=attacks, effort=Effort(time_limit=2)
    ):
        counts = found.counts
        assert sum(counts.values()) == images
        assert counts["robust"] > images / 10
        attacked = found.attacks.worst_case.accuracy
        assert found.certified <= found.at_most <= attacked
        tree = json.loads(found.file.read_text())
        assert tree == json.loads(json.dumps(found.to_tree()))
        assert tree["certified_accuracy"] == counts["robust"] / images
        assert CONTRADICTED not in tree["ways"]
        assert sum(tree["ways"].values()) == images - counts["wrong"]
        vulnerable += counts["vulnerable"]
    assert vulnerable > 0


def test_a_larger_ball_certifies_no_more(trained, ids):
    standings = []
    for eps in (0.01, EPS, 0.1):
        (found,) = verified(trained.folder.root, rules=ids[:1], eps=eps, images=20, attacks="fgsm")
        standings.append([each.standing for each in found.certificates])
    for smaller, larger in itertools.pairwise(standings):
        for before, after in zip(smaller, larger, strict=True):
            assert not (before == "vulnerable" and after == "robust")
            assert (before == "wrong") == (after == "wrong")


def test_bounds_alone_leave_more_unknown(trained, ids):
    whole, rough = (
        verified(
            trained.folder.root,
            rules=ids[1:],
            eps=EPS,
            images=20,
            attacks="fgsm",
            effort=Effort(complete=complete, time_limit=2),
        )[0].counts
        for complete in (True, False)
    )
    assert rough["robust"] <= whole["robust"]
    assert rough["unknown"] >= whole["unknown"]
    assert rough["wrong"] == whole["wrong"]


def test_a_proof_that_an_attack_contradicts_is_taken_back(trained, ids, monkeypatch):
    monkeypatch.setattr(
        "moosearch.analysis.certification.certify",
        lambda *_a, **_k: Certificate("robust", ("bounds: robust",), 0.0, -1.0),
    )
    (found,) = verified(trained.folder.root, rules=ids[:1], eps=0.3, images=20, attacks="pgd20")
    withstood = found.attacks.worst_case.correct
    assert withstood < 20
    assert found.counts["robust"] == withstood
    assert found.to_tree()["ways"][CONTRADICTED] == 20 - withstood


def test_the_command_prints_and_writes(trained, ids, cli):
    given = [trained.folder.root, "--pick", ids[0], "--eps", EPS, "--images", "12", "--attacks", "pgd20,fgsm"]
    code, out, err = cli("verify", *given)
    assert code == 0, err
    assert "certified" in out
    assert "right under pgd20, fgsm" in out
    code, out, err = cli("verify", *given, "--json")
    (tree,) = json.loads(out)
    assert tree["candidate"] == ids[0]
    assert len(tree["certificates"]) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eps", "8"], "eps: got 8"),
        (["--time-limit", "0"], "time_limit"),
        (["--images", "100000"], "images: got 100000, expected at most 360"),
        (["--images", "-1"], "got -1, expected a number of 0 or more."),
        (["--images", "own.npz"], "your own images is given with --data."),
        (["--attacks", "autoatack"], "Did you mean 'autoattack'?"),
        (["--layered"], MOVED),
        (["--layered", "--images", "2"], MOVED),
        (["--cut=fixed"], MOVED),
        (["--tolerance", "0.1"], MOVED),
        (["--pick", "nobody"], "'nobody' is neither a rule nor a member"),
    ],
)
def test_wrong_input_is_refused(trained, cli, arguments, words):
    code, _, err = cli("verify", trained.folder.root, *arguments)
    assert code == 2
    assert words in err.replace("│", "").replace("\n ", "")


def test_layers_that_cannot_be_verified_are_named(tiny, tmp_path):
    space = tiny()
    space["campaign"]["budget"] = {"population": 1, "generations": 1}
    space["candidate"]["architecture"] = {"name": "small_cnn", "width": 2, "depth": 2, "activation": "silu"}
    moosearch.search(space, out=tmp_path / "c")
    with pytest.raises(SpecError, match="cannot be verified: the network has the layer SiLU"):
        verified(tmp_path / "c", images=5)


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_the_answers_are_the_same(trained, ids):
    alone, together = (
        verified(trained.folder.root, rules=ids[:1], eps=EPS, images=12, attacks="fgsm", workers=workers)[0]
        for workers in (1, 2)
    )
    assert [c.standing for c in alone.certificates] == [c.standing for c in together.certificates]
    margins = [c.margin for c in together.certificates]
    assert [c.margin for c in alone.certificates] == pytest.approx(margins)


def test_certificates_are_kept_image_by_image(trained, ids, monkeypatch):
    given = {"rules": ids[:1], "eps": 0.02, "attacks": "fgsm"}
    (first,) = verified(trained.folder.root, images=6, **given)
    assert len(list(first.file.parent.glob("0*.json"))) == 6
    asked = []

    def counted(*arguments, **_more):
        asked.append(arguments)
        return Certificate("unknown", (), 0.0, -1.0)

    monkeypatch.setattr("moosearch.analysis.certification.certify", counted)
    (again,) = verified(trained.folder.root, images=8, **given)
    assert len(asked) == 2
    assert again.certificates[:6] == first.certificates
    verified(trained.folder.root, images=6, effort=Effort(complete=False), **given)
    assert len(asked) == 8, "another effort is another question"
