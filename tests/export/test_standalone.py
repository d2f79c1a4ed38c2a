"""network.py is the network, needs torch alone, and says what is wrong with its weights."""

import ast
import json
import runpy
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moosearch.errors import ExportError
from moosearch.export.programs import quiet
from moosearch.export.reader import read_tensors
from moosearch.export.standalone import CONSTANT_NUMBERS, network_source
from moosearch.registry import build
from moosearch.seeding import torch_generator
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network

SHAPE = (2, 6, 5)


def images(count, shape=SHAPE):
    return torch.rand(count, *shape, generator=torch_generator(count))


def source_of(model, classes=("a", "b")):
    with quiet():
        batch = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(model.eval(), (images(2),), dynamic_shapes=batch)
    return network_source(program, classes)


def write(model, folder, classes=("a", "b")):
    """Write a network as an export holds it, and load it."""
    (folder / "network.py").write_text(source_of(model, classes))
    save_file({k: t.detach().clone() for k, t in model.state_dict().items()}, folder / "weights.safetensors")
    return runpy.run_path(str(folder / "network.py"))


class Odd(nn.Module):
    """What networks may do besides stacking layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 6 * 5, 2)
        self.tied = self.head
        self.register_buffer("kernel", torch.full((4, 1, 1, 1), 0.3), persistent=False)
        self.register_buffer("scale", torch.tensor(1.7))

    def forward(self, x):
        x = self.norm(self.first(x)).relu_()
        left, right = x.chunk(2, dim=1)
        x = torch.cat([right * 2, left], dim=1) + nn.functional.conv2d(x, self.kernel, groups=4)
        x = x.masked_fill(x > 2, float("inf")).clamp(max=1e3) * self.scale
        x = x.to(torch.float64).to(torch.float32)
        weights = torch.tensor([0.1, -0.2, 0.3, 0.4]).view(1, 4, 1, 1)
        flat = (x * weights).reshape(x.size(0), -1)
        return self.tied(flat) + torch.zeros(x.size(0), 1)


def test_whatever_a_network_does_comes_out_the_same_at_any_batch_size(tmp_path):
    torch.manual_seed(0)
    model = Odd()
    model.train()(images(8))
    net = write(model.eval(), tmp_path)["load"]()
    for count in (1, 2, 7, 64):
        x = images(count)
        before = x.clone()
        assert torch.equal(net(x), model(x))
        assert torch.equal(x, before)


def test_gradients_pass_and_parameters_are_parameters(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 2))
    net = write(model, tmp_path)["load"](tmp_path)
    x = images(3).requires_grad_()
    net(x).sum().backward()
    assert torch.allclose(x.grad[0].flatten(), model[1].weight.sum(dim=0))
    assert sum(p.numel() for p in net.parameters()) == 122
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training


def test_names_are_given_again_when_their_values_are_gone(tmp_path):
    """A chain needs one name, whatever its length: activations are freed as in the network."""
    layers = [nn.Conv2d(2, 2, 1) for _ in range(30)]
    source = source_of(nn.Sequential(*layers, nn.Flatten(), nn.Linear(60, 2)))
    (network,) = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef))
    (forward,) = (n for n in network.body if getattr(n, "name", "") == "forward")
    assigned = {t.id for n in ast.walk(forward) if isinstance(n, ast.Assign) for t in n.targets}
    assert assigned == {"x"}


@pytest.mark.parametrize("text", ['"""', "'", "\n", "{x}", "\\", "ü", "a" * 200], ids=repr)
def test_names_of_classes_are_data(tmp_path, text):
    module = write(nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), tmp_path, (text, "b"))
    assert module["CLASSES"] == (text, "b")


def test_it_imports_torch_and_the_standard_library_only(exported):
    source = (exported / "network.py").read_text()
    tree = ast.parse(source)
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names == {"json", "math", "pathlib", "torch"}
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}
    assert "pickle" not in source


def test_it_runs_where_nothing_but_torch_is_installed(exported, finished, val, tmp_path):
    """Raw pixels go in, and what comes out is the campaign's network, at batches of 1 and 7."""
    blocked = ["moosearch", "safetensors", "numpy", "onnx", "onnxruntime", "torchvision", "yaml"]
    program = f"""
        import json, sys
        sys.modules |= dict.fromkeys({blocked})
        sys.path.insert(0, sys.argv[1])
        import torch
        torch.set_num_threads(1)
        from network import CLASSES, load
        pixels = torch.tensor(json.load(open(sys.argv[2])))
        net = load()
        print(json.dumps([CLASSES, net(pixels[:1]).tolist(), net(pixels[1:8]).tolist()]))
    """
    pixels = val.pixels(slice(8))
    (tmp_path / "pixels.json").write_text(json.dumps(pixels.tolist()))
    folder = shutil.copytree(exported, tmp_path / "copy", ignore=shutil.ignore_patterns("*.onnx", "*.pt2"))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), folder, tmp_path / "pixels.json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    classes, one, seven = json.loads(result.stdout)
    knee = finished.front.knee()
    net = load_network(finished.folder, knee, build(CandidateSpec, knee.candidate.spec))
    with torch.no_grad():
        expected = torch.cat([net(pixels[:1]), net(pixels[1:])])
    torch.testing.assert_close(torch.tensor(one + seven), expected, atol=1e-5, rtol=1e-5)
    assert classes == [str(digit) for digit in range(10)]


@pytest.mark.parametrize(
    "x", [images(2)[:, :1], images(2)[0], images(2).double(), (images(2) * 255).to(torch.uint8)], ids=str
)
def test_wrong_images_are_refused_in_words(tmp_path, x):
    net = write(nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), tmp_path)["load"]()
    with pytest.raises(ValueError, match=r"got torch\.\w+ images of shape .*expected .*2, 6, 5"):
        net(x)


def test_weights_of_another_network_are_refused(tmp_path):
    load = write(nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), tmp_path)["load"]
    path = tmp_path / "weights.safetensors"
    for state, words in (
        ({"1.weight": torch.zeros(2, 60)}, "1.bias is missing"),
        ({"1.weight": torch.zeros(2, 60), "1.bias": torch.zeros(3)}, r"1.bias is \('float32', \(3,\)\)"),
        ({"1.weight": torch.zeros(2, 60), "1.bias": torch.zeros(2).half()}, "1.bias is .'float16'"),
    ):
        save_file(state, path)
        with pytest.raises(ValueError, match=f"weights.safetensors: {words}"):
            load(tmp_path)


class Two(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :2], x.flatten(1)[:, 2:4]


class Constant(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :2] + self.big.sum()

    def __init__(self):
        super().__init__()
        self.register_buffer("big", torch.zeros(CONSTANT_NUMBERS + 1), persistent=False)


class Nested(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x.flatten(1)[:, :2].float() @ torch.ones(2, 2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Two(), "more than logits"),
        (Constant(), "a constant of 4,097 numbers"),
        (Nested(), "of its own within it|torch alone does not have"),
    ],
    ids=["two", "constant", "nested"],
)
def test_what_cannot_be_written_is_refused(model, words):
    with pytest.raises(ExportError, match=words):
        source_of(model)


def test_every_type_is_read_as_the_library_writes_it(tmp_path):
    kinds = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    state = {kind: torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, kind)) for kind in kinds}
    state |= {"none": torch.zeros(0, 3), "one": torch.tensor(2.5)}
    save_file(state, tmp_path / "w", metadata={"made": "here"})
    found = read_tensors(tmp_path / "w")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


def stored(header, body=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


GOOD = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1\2\3",
        (2**63).to_bytes(8, "little") + b"{}",
        stored(b"{"),
        stored(b"\xff\xff"),
        stored([]),
        stored({"a": 1}),
        stored({"a": {}}),
        stored({"a": GOOD | {"dtype": "C64"}}),
        stored({"a": GOOD | {"dtype": []}}),
        stored({"a": GOOD | {"shape": [5]}}),
        stored({"a": GOOD | {"shape": [-4]}}),
        stored({"a": GOOD | {"shape": [4.0]}}),
        stored({"a": GOOD | {"shape": ["a" * 9]}}),
        stored({"a": GOOD | {"shape": [True, 4]}}),
        stored({"a": GOOD | {"shape": [0, 2**70], "data_offsets": [0, 0]}}),
        stored({"a": GOOD | {"data_offsets": [4, 20]}}),
        stored({"a": GOOD | {"data_offsets": [-16, 0]}}),
        stored({"a": GOOD | {"data_offsets": [16, 0]}}),
        stored({"a": GOOD | {"data_offsets": [0]}}),
        stored({"a": GOOD | {"data_offsets": [False, 16]}}),
        stored({"a": GOOD | {"shape": [0], "data_offsets": [99, 99]}}),
        stored({"a": GOOD | {"data_offsets": None}}),
        stored(b"[" * 100_000),
    ],
    ids=lambda content: repr(content[8:60]),
)
def test_damaged_weights_are_a_value_error(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read_tensors(tmp_path / "w")


def test_mutated_weights_never_break_out(exported, tmp_path):
    """Whatever byte of the header is changed, reading ends in tensors or in a ValueError."""
    original = (exported / "weights.safetensors").read_bytes()
    length = int.from_bytes(original[:8], "little")
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(original)
        content[random.integers(8 + length)] = random.integers(256)
        (tmp_path / "w").write_bytes(content)
        try:
            read_tensors(tmp_path / "w")
        except ValueError:
            refused += 1
    assert refused > 50
