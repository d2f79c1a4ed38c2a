import os

import pytest
import torch

from moosearch.attacks import perturb, seek, transfer
from moosearch.attacks.gradient import Pgd
from moosearch.attacks.multitask import Mta
from moosearch.attacks.transfer import Transfer
from moosearch.data import Split
from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.models import build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

ATTACK = Pgd(eps=0.13, step=0.03, steps=5)


def attacked(attack, net, images, rows=None):
    rows = torch.arange(len(images)) if rows is None else rows
    return seek(attack, net, images.x, (images.y,), rows=rows, generator=torch_generator(0)).x_adv


def other_net(classes=10, seed=5):
    task = Task.main([str(number) for number in range(classes)])
    return build_network(SmallCnn(width=8, depth=3), (1, 8, 8), (task,), seed=seed).eval()


def test_images_are_those_that_the_attack_ends_at_on_the_surrogate(victim, export):
    attack = Transfer(surrogate=str(export(victim.net)), attack=ATTACK)
    images = victim.images.first(20)
    found = attacked(attack, other_net(), images)
    expected = perturb(ATTACK, victim.net, images.x, (images.y,), generator=torch_generator(0))
    # The surrogate computes in another memory format: a sign may be another one.
    assert ((found - expected).abs() < 1e-5).float().mean() > 0.99
    assert torch.equal(attacked(attack, other_net(seed=6), images), found), "whatever network is judged"


def test_it_walks_on_where_the_surrogate_is_fooled(victim, export):
    attack = Transfer(surrogate=str(export(victim.net)), attack=ATTACK)
    direct = attacked(ATTACK, victim.net, victim.images)
    found = attacked(attack, victim.net, victim.images)
    y = victim.images.y
    with torch.no_grad():
        loss = [torch.nn.functional.cross_entropy(victim.net(x), y).item() for x in (direct, found)]
    assert loss[1] > loss[0]


def test_rows_are_those_of_the_whole_batch(victim, export):
    attack = Transfer(surrogate=str(export(victim.net)), attack=ATTACK)
    images, rows = victim.images.first(20), torch.tensor([7, 3])
    assert torch.equal(
        attacked(attack, other_net(), images, rows), attacked(attack, other_net(), images)[rows]
    )


def test_transfers_fool_the_surrogate_itself_and_another_network_less(victim, export):
    attack = Transfer(surrogate=str(export(victim.net)), attack=ATTACK)
    assert (attack.eps, attack.norm) == (0.13, "linf")
    x_adv = attacked(attack, victim.net, victim.images)
    with torch.no_grad():
        robust = (victim.net(x_adv).argmax(dim=1) == victim.images.y).float().mean()
    assert robust < 0.9


def test_a_surrogate_is_loaded_once_for_each_version_of_it(victim, export, monkeypatch):
    loaded = []
    load = transfer.load_exported
    monkeypatch.setattr(transfer, "load_exported", lambda folder: loaded.append(folder) or load(folder))
    folder = export(victim.net)
    attack, images = Transfer(surrogate=str(folder), attack=ATTACK), victim.images.first(5)
    first = attacked(attack, victim.net, images)
    assert torch.equal(attacked(attack, victim.net, images), first)
    assert len(loaded) == 1
    export(other_net())
    os.utime(folder / "weights.safetensors", ns=(1, 1))
    assert not torch.equal(attacked(attack, victim.net, images), first)
    assert len(loaded) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shape": (1, 9, 9)},
            r"10 classes of images of shape \[1, 9, 9\] apart, expected 10 .* \[1, 8, 8\]",
        ),
        ({"classes": 3}, r"3 classes of images of shape \[1, 8, 8\] apart, expected 10 classes"),
    ],
)
def test_a_surrogate_of_other_images_or_classes_is_refused(victim, export, options, message):
    folder = export(other_net(options.get("classes", 10)), **options)
    with pytest.raises(SpecError, match=message):
        attacked(Transfer(surrogate=str(folder)), victim.net, victim.images.first(2))


def test_a_folder_that_is_no_export_is_refused_where_it_is_used(victim, tmp_path):
    attack = Transfer(surrogate=str(tmp_path / "gone"))
    with pytest.raises(SpecError, match=r"surrogate: .*gone: no exported model here, `spec.yaml` is missing"):
        attack.check(classes=10, shape=(1, 8, 8))
    with pytest.raises(SpecError, match="surrogate: "):
        attacked(attack, victim.net, Split(victim.images.x[:1], victim.images.y[:1]))


@pytest.mark.parametrize("attack", [Mta(), Pgd(mode="train")])
def test_attacks_that_an_exported_network_cannot_meet_are_refused(attack):
    with pytest.raises(
        SpecError, match=r"attack: got .* expected one on the main task alone and in mode eval"
    ):
        Transfer(surrogate="somewhere", attack=attack)
