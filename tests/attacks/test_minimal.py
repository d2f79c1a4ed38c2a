import pytest
import torch

from moosearch.attacks import seek
from moosearch.attacks.minimal import CwL2, DeepFool
from moosearch.seeding import torch_generator


def attacked(attack, net, x, y):
    return seek(attack, net, x, (y,), rows=torch.arange(len(x)), generator=torch_generator(0))


@torch.no_grad()
def right(net, x, y):
    return net(x).argmax(dim=1) == y


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_finds_the_distance_of_a_linear_network(plane, norm):
    net, x, y, distances = plane(norm)
    found = attacked(DeepFool(eps=1.0, norm=norm), net, x, y)
    assert not right(net, found.x_adv, y).any()
    assert (found.distance >= distances).all()
    # It overshoots by 2 %, and by 1e-4 in the norm for numerical stability.
    assert (found.distance <= 1.021 * distances + 2e-4).all()


def test_deepfool_overshoots_by_as_much_as_it_is_told(plane):
    net, x, y, distances = plane("l2")
    found = attacked(DeepFool(eps=1.0, norm="l2", overshoot=0.5), net, x, y)
    assert (found.distance / distances - 1.5).abs().max() < 0.05


def test_deepfool_compares_as_many_classes_as_it_is_told(linear):
    # The second class is the likelier one, and far away; the third is near: its logit is steep.
    net = linear(torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 10.0]]), torch.tensor([0.0, -0.16, -5.2]))
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    two, three = (attacked(DeepFool(eps=1.0, norm="l2", candidates=c), net, x, y).distance for c in (2, 3))
    assert two.item() == pytest.approx(0.3, rel=0.03)
    assert three.item() == pytest.approx(0.02, rel=0.03)


def test_cw_l2_finds_the_distance_of_a_linear_network(plane):
    net, x, y, distances = plane("l2")
    found = attacked(CwL2(eps=1.0), net, x, y)
    assert not right(net, found.x_adv, y).any()
    assert (found.distance >= 0.999 * distances).all()
    assert (found.distance <= 1.2 * distances + 1e-3).all()


def test_cw_l2_counts_success_within_its_budget_and_reports_the_distance_beyond(plane):
    net, x, y, distances = plane("l2")
    eps = distances.median().item()
    found = attacked(CwL2(eps=eps), net, x, y)
    assert not right(net, found.outside, y).any()
    assert right(net, found.x_adv, y)[distances > eps].all()
    assert found.distance.max() > eps


def test_confidence_is_the_margin_by_which_an_image_fools(plane):
    net, x, y, _ = plane("l2")
    found = attacked(CwL2(eps=10.0, confidence=0.5), net, x, y)
    with torch.no_grad():
        logits = net(found.outside)
    others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    assert (others - logits.gather(1, y[:, None])[:, 0] >= 0.5).all()


def test_an_image_that_cannot_be_fooled_comes_back_as_it_was(plane):
    net, x, y, _ = plane("l2")
    with torch.no_grad():
        net.heads[0].bias[y[0]] += 1e4
    stuck = y == y[0]
    for attack in (CwL2(steps=5, binary_search_steps=2), DeepFool(norm="l2", steps=1)):
        found = attacked(attack, net, x[stuck], y[stuck])
        assert right(net, found.outside, y[stuck]).all()
        if isinstance(attack, CwL2):
            assert torch.equal(found.outside, x[stuck])


def test_images_stop_where_they_fool(plane):
    net, x, y, _ = plane("linf")
    calls = []
    net.trunk.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    attacked(DeepFool(eps=1.0, steps=50), net, x, y)
    assert len(calls) < 30, "a linear network is fooled in one or two steps"


def test_cw_l2_treats_an_image_as_if_it_were_alone(victim):
    x, y = victim.images.x[:6], victim.images.y[:6]
    attack = CwL2(steps=40, binary_search_steps=3)
    alone = torch.cat([attacked(attack, victim.net, x[i : i + 1], y[i : i + 1]).outside for i in range(6)])
    torch.testing.assert_close(attacked(attack, victim.net, x, y).outside, alone, atol=1e-3, rtol=0)
