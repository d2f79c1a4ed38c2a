import json

import pytest
import torch
from safetensors.torch import save_file

from moosearch.data.digits import Digits
from moosearch.errors import ExportError
from moosearch.models import build_network
from moosearch.models.exported import load_exported, signature
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

TASKS = Digits(auxiliary=("odd_even",)).tasks
SPEC = "candidate: {architecture: {name: small_cnn, width: 4, depth: 2}}\n"


@pytest.fixture
def net():
    network = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=3)
    with torch.no_grad():
        network(torch.rand(32, 1, 8, 8, generator=torch_generator(0)))  # statistics that are not the default
    return network.eval()


@pytest.fixture
def folder(net, tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    manifest = {"input": {"shape": ["batch", 1, 8, 8]}, "output": {"classes": list(TASKS[0].groups)}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    save_file(net.deployed().state_dict(), tmp_path / "weights.safetensors")
    return tmp_path


def test_network_is_the_one_that_was_exported_with_its_main_head_alone(net, folder):
    loaded = load_exported(folder)
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(1))
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))
    assert len(loaded.heads) == 1
    assert not loaded.training
    assert torch.equal(load_exported(str(folder)).heads[0].bias, net.heads[0].bias)


def test_loading_leaves_the_global_generator_alone(folder):
    before = torch.get_rng_state()
    load_exported(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_signature_is_that_of_the_manifest(folder):
    assert signature(folder) == ((1, 8, 8), tuple(str(digit) for digit in range(10)), 1)


@pytest.mark.parametrize("name", ["spec.yaml", "manifest.json", "weights.safetensors"])
@pytest.mark.parametrize("read", [load_exported, signature])
def test_a_folder_without_one_of_its_files_is_no_export(folder, name, read):
    (folder / name).unlink()
    with pytest.raises(ExportError, match=rf"no exported model here, `{name}` is missing. Write one with"):
        read(folder)


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"input": {"shape": [1, 8]}, "output": {"classes": []}}', '{"input": 3}'],
)
def test_a_file_that_is_no_manifest_is_named(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ExportError, match=r"manifest.json: not the manifest of an export"):
        load_exported(folder)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SPEC.replace("width: 4", "width: 5"), "size mismatch"),
        (SPEC.replace("small_cnn", "smal_cnn"), "Did you mean 'small_cnn'"),
        ("candidate: {}\n", "architecture"),
        ("imports: [no_such_module]\n" + SPEC, "no_such_module"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, spec, message):
    (folder / "spec.yaml").write_text(spec)
    with pytest.raises(ExportError, match=rf"its files do not belong together: .*{message}"):
        load_exported(folder)


def test_damaged_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ExportError, match="its files do not belong together"):
        load_exported(folder)
