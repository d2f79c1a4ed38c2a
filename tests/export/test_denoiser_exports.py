"""Candidates with feature denoising blocks, as programs: ONNX, torch.export and network.py."""

from typing import Annotated

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moosearch.data import Task
from moosearch.export.programs import write_programs
from moosearch.models import DENOISERS, DefenseSpec, build_network
from moosearch.models.defenses.defense import Denoiser
from moosearch.models.lenet import LeNet
from moosearch.registry import build
from moosearch.seeding import seeded_torch, torch_generator

SHAPE = (2, 9, 12)


@pytest.mark.rotated(6)
@pytest.mark.parametrize("name", [name for name in DENOISERS if name != "none"])
def test_programs_compute_what_the_network_does(name, tmp_path):
    options = {"pool": 2} if "gaussian" in name else {}
    spec = DefenseSpec(
        denoise=build(
            Annotated[Denoiser, DENOISERS], {"name": name, "after": [1], "strength": 0.7, **options}
        )
    )
    net = build_network(LeNet(width=0.1), SHAPE, (Task.main(list("abc")),), seed=0, defenses=spec)
    with seeded_torch(0):
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 1, 2)
    model = net.eval().deployed()
    images = torch.rand(9, *SHAPE, generator=torch_generator(0))
    plain = build_network(LeNet(width=0.1), SHAPE, (Task.main(list("abc")),), seed=0).eval()
    assert (model(images) - plain(images)).abs().max() > 1e-3, "the blocks do something"
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    programs = write_programs(model, images, ("a", "b", "c"), tmp_path)
    assert not programs.missing
    assert programs.parity.keys() == {"onnx", "torch_export", "network"}
    assert max(programs.parity.values()) < 1e-5
