import pytest
import torch

from moosearch.attacks import perturb
from moosearch.attacks.ball import BALLS, uniform_start
from moosearch.attacks.gradient import margin
from moosearch.attacks.noise import Noise
from moosearch.seeding import torch_generator


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_returns_the_draw_with_the_largest_margin(plane, norm):
    net, x, y, _ = plane(norm)
    x = (2 * x - 0.5).clamp(0, 1)  # the border of [0, 1] is in reach
    found = perturb(Noise(eps=0.3, norm=norm, draws=4), net, x, (y,), generator=torch_generator(3))
    generator = torch_generator(3)
    draws = [BALLS[norm](x, 0.3).project(uniform_start(x, 0.3, generator, norm=norm)) for _ in range(4)]
    with torch.no_grad():
        margins = torch.stack([margin(net(draw), y) for draw in draws])
    assert len(margins.argmax(dim=0).unique()) > 1, "not always the same draw"
    for image, best in enumerate(margins.argmax(dim=0).tolist()):
        torch.testing.assert_close(found[image], draws[best][image])
