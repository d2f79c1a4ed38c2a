"""Candidates with input defenses as a user exports them: every program, int8, prediction, loading."""

import json
import runpy

import numpy as np
import pytest
import torch
from PIL import Image

import moosearch
from moosearch.errors import ExportError
from moosearch.models.exported import load_exported
from moosearch.registry import build
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network

SQUEEZED = [
    {"name": "bit_depth", "bits": 4},
    {"name": "median_filter", "size": 2},
    {"name": "perturbation_filter", "width": 3, "depth": 2},
]


@pytest.fixture(scope="module")
def defended(tiny, tmp_path_factory):
    """Search two candidates with these input layers: layers -> campaign."""

    def search(layers):
        space = tiny()
        space["candidate"]["defenses"] = {"input": layers}
        space["candidate"]["architecture"] = {
            "name": "small_cnn",
            "width": {"integer": [4, 6, 2]},
            "depth": 2,
        }
        overrides = ["campaign.budget.population=2", "campaign.budget.generations=1"]
        return moosearch.search(space, out=tmp_path_factory.mktemp("defended") / "c", overrides=overrides)

    return search


@pytest.mark.slow
def test_every_program_has_the_layers_in_it(defended, val, tmp_path, cli):
    campaign = defended(SQUEEZED)
    folder, knee = tmp_path / "model", campaign.front.knee()
    campaign.export("knee", folder, quantize="int8", latency=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["missing"] == {}
    assert max(manifest["parity"].values()) < 1e-4
    assert manifest["quantized"]["agreement"] > 0.9
    (robust,) = manifest["quantized"]["robust"].values()
    assert robust["worst_case"]["accuracy"] <= robust["transferred"]["accuracy"]

    spec = build(CandidateSpec, knee.candidate.spec)
    net, x = load_network(campaign.folder, knee, spec), val.pixels(slice(30))
    loaded = load_exported(folder)
    assert [type(layer) for layer in loaded.guard] == [type(layer) for layer in net.guard]
    standalone = runpy.run_path(str(folder / "network.py"))["load"](folder)
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))
        torch.testing.assert_close(standalone(x), net(x), atol=1e-5, rtol=1e-5)
        labels = net(x).argmax(dim=1).tolist()
        net.guard = torch.nn.Sequential()
        assert not torch.allclose(net(x), loaded(x), atol=1e-3), "the layers do something"
    assert moosearch.load_export(folder).predict(x.numpy()).labels.tolist() == labels

    image = tmp_path / "digit.png"
    Image.fromarray((255 * x[0, 0].numpy()).round().astype(np.uint8)).save(image)
    code, out, _ = cli("predict", folder, image)
    assert code == 0
    assert "digit.png" in out


def test_a_random_network_is_refused_before_anything_is_written(defended, tmp_path):
    campaign = defended([{"name": "noise", "sigma": 0.05}])
    with pytest.raises(ExportError, match=r"answers at random .* Choose another member"):
        campaign.export("knee", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
