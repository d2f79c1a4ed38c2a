from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moosearch.models import kernels
from moosearch.models.kernels import agree, fault

LAST = torch.channels_last


@pytest.fixture
def forget():
    """Verdicts of planted kernels are not kept."""
    kernels._verdict.cache_clear()
    yield
    kernels._verdict.cache_clear()


def passes(module, x):
    def run():
        y = module(x)
        torch.autograd.grad(y.sum(), [x, *module.parameters()])

    return run


def image(*shape, memory_format=LAST):
    return torch.zeros(*shape).contiguous(memory_format=memory_format).requires_grad_()


def conv(*sizes, memory_format=LAST, **fields):
    return nn.Conv2d(*sizes, **fields).to(memory_format=memory_format)


@pytest.mark.parametrize("low", [False, True])
def test_right_kernels_have_no_fault(low):
    module = nn.Sequential(conv(3, 8, 3, stride=2, padding=1), nn.ReLU(), conv(8, 20, 1), nn.Flatten())

    def run():
        x = image(4, 3, 8, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            y = F.linear(module(x), torch.ones(3, 320))
        torch.autograd.grad(y.sum(), [x, *module.parameters()])

    assert fault(run) == ""


def test_a_strided_pointwise_convolution_is_not_even_tried(forget):
    module, x = conv(4, 8, 1, stride=2), image(2, 4, 8, 8)
    assert "convolution of 2x4x8x8 and 8x4x1x1, stride 2 in float32" in fault(passes(module, x))
    assert "write past its memory" in fault(lambda: F.conv2d(x, module.weight, stride=2))
    plain = image(2, 4, 8, 8, memory_format=torch.contiguous_format)
    assert fault(passes(nn.Conv2d(4, 8, 1, stride=2), plain)) == ""  # which everybody runs


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_wrong_number_is_found(forget, monkeypatch, place, dtype):
    """In the gradient by the images, and in that by the weights."""
    right = torch.ops.aten.convolution_backward.default

    class Planted:
        def __call__(self, *args, **kwargs):
            found = right(*args, **kwargs)
            if args[0].dtype == dtype:
                found[place][0, 0, 0, 0] += 0.2 * found[place].float().square().mean().sqrt()
            return found

        def __str__(self):
            return str(right)

    planted = Planted()
    monkeypatch.setattr(kernels, "CHECKED", {planted})
    monkeypatch.setattr(kernels, "CONVOLUTIONS", (kernels.CONVOLUTIONS[0], planted))
    monkeypatch.setattr(kernels._Watch, "__torch_dispatch__", _planting(right, planted))
    module, x = conv(4, 8, 3).to(dtype), image(2, 4, 8, 8).to(dtype)
    assert "convolution backward" in fault(passes(module, x))
    assert "is computed wrongly" in fault(passes(module, x))


def _planting(right, planted):
    before = kernels._Watch.__torch_dispatch__

    def dispatch(self, func, types, args=(), kwargs=None):
        return before(self, planted if func is right else func, types, args, kwargs)

    return dispatch


def test_agreement_is_of_every_number():
    exact = torch.arange(1.0, 101.0, dtype=torch.float64)
    assert agree(exact.float() * (1 + 1e-6), exact, 1e-3)
    wrong = exact.float()
    wrong[3] += 0.2
    assert not agree(wrong, exact, 1e-3)
    wrong[3] = float("nan")
    assert not agree(wrong, exact, 1e-3)


def test_what_ran_before_makes_no_difference_and_random_numbers_are_left_alone(forget):
    module, x = conv(4, 8, 3), image(2, 4, 8, 8)
    before = torch.get_rng_state()
    assert fault(passes(module, x)) == ""
    asked = kernels._verdict.cache_info().misses
    assert fault(passes(conv(4, 8, 3), image(2, 4, 8, 8))) == ""
    assert kernels._verdict.cache_info().misses == asked  # the same shapes are asked for once
    torch.nn.init.zeros_(module.weight)
    torch.set_rng_state(before)
    fault(passes(module, image(3, 4, 8, 8)))
    assert torch.equal(torch.get_rng_state(), before)


SWEEP = Path(__file__).parents[1] / "benchmarks" / "kernels"


def test_networks_of_a_few_channels_can_be_trained_with_avx2(monkeypatch):
    """A cut of the sweep: as they were, the first of these networks kills its process on any processor."""
    monkeypatch.syspath_prepend(SWEEP)
    from sweep import run

    configs = [
        {
            "architecture": {"name": "small_resnet", "width": width, "depth": 1},
            "size": 8,
            "layout": "channels_last",
            "precision": "fp32",
            "batches": [64, 7],
        }
        for width in (4, 6)
    ]
    for row in run(configs, "AVX2", old=False):
        assert row.keys() == {"fault", "gradient_error"}, row  # none died
        assert row["fault"] == ""
        assert row["gradient_error"] < 1e-4
