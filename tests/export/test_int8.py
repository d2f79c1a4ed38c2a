"""The quantized network: what it is, and that attacks on it are attacks on it."""

import itertools
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from moosearch.attacks.gradient import Pgd
from moosearch.attacks.multitask import Mixed
from moosearch.data import Split, Task
from moosearch.errors import ExportError, SpecError
from moosearch.export import int8
from moosearch.export.int8 import StraightThrough, judge_int8, write_int8
from moosearch.export.programs import write_programs
from moosearch.judgment import wilson
from moosearch.models.network import RobustNet
from moosearch.registry import build
from moosearch.seeding import torch_generator
from moosearch.training import CandidateSpec
from moosearch.training.costs import Flops
from moosearch.training.objectives import CleanAccuracy, RobustAccuracy
from moosearch.training.weights import load_network

TASK = Task.main(("left", "right"))


@pytest.fixture
def manifest(exported):
    return json.loads((exported / "manifest.json").read_text())


@pytest.fixture
def session(exported):
    return onnxruntime.InferenceSession(exported / "model.int8.onnx", providers=["CPUExecutionProvider"])


def test_pixels_and_logits_stay_float32_and_the_batch_free(session, val):
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert given.type == made.type == "tensor(float)"
    for count in (1, 7):
        (logits,) = session.run(["logits"], {"images": val.pixels(slice(count)).numpy()})
        assert logits.shape == (count, 10)


def test_weights_are_integers_by_channel(exported, manifest):
    import onnx

    graph = onnx.load(exported / "model.int8.onnx").graph
    stored = {i.name: i for i in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    restored = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = [restored[node.input[1]] for node in layers]
    assert manifest["quantized"]["layers"] == len(layers) > 1
    assert all(stored[node.input[0]].data_type == onnx.TensorProto.INT8 for node in weights)
    assert any(np.prod(stored[node.input[1]].dims) > 1 for node in weights), "a scale a channel"


def test_clean_accuracy_and_agreement_are_those_of_the_file(session, manifest, finished, val):
    (logits,) = session.run(["logits"], {"images": val.pixels().numpy()})
    knee = finished.front.knee()
    net = load_network(finished.folder, knee, build(CandidateSpec, knee.candidate.spec))
    with torch.no_grad():
        before = net(val.pixels()).argmax(dim=1).numpy()
    found, right = manifest["quantized"], int((logits.argmax(axis=1) == val.y.numpy()).sum())
    assert found["clean"] == {
        "correct": right,
        "accuracy": right / len(val),
        "interval": list(wilson(right, len(val))),
    }
    assert found["agreement"] == (logits.argmax(axis=1) == before).mean()
    assert found["float_clean"]["accuracy"] == knee.objectives["clean_accuracy"]


def test_every_robust_accuracy_is_measured_in_both_ways(manifest, exported):
    robust = manifest["quantized"]["robust"]
    assert robust.keys() == {"robust_accuracy"}
    found = robust["robust_accuracy"]
    assert found["worst_case"]["correct"] <= min(found[how]["correct"] for how in ("adaptive", "transferred"))
    assert found["attacks"] == manifest["objectives"]["robust_accuracy"]["attacks"]
    card = (exported / "CARD.md").read_text()
    assert "it is not a\ntransfer-only number" in card or "not a transfer-only number" in card
    assert "**adaptively**" in card


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def linear(rows):
    """A network of two pixels whose logits are linear in them."""
    net = RobustNet(Flat(), 2, 1, [2, 2])
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor(rows))
        net.heads[0].bias.zero_()
    return net.eval()


def rounded(net, levels):
    """The same network on pixels that are rounded: it has no gradient."""

    def classify(x):
        with torch.no_grad():
            return net((x * levels).round() / levels)

    return classify


def test_robust_accuracy_is_the_worst_case_of_what_brute_force_finds():
    """Of a linear network the worst corner is known; the rounded one is asked there."""
    net, eps = linear([[1.0, 0.0], [0.0, 1.0]]), 0.2
    coarse = rounded(net, 4)
    x = torch.rand(200, 1, 1, 2, generator=torch_generator(0))
    y = net(x).argmax(dim=1)
    away = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * torch.tensor([1.0, -1.0])
    corner = (x + eps * away).clamp(0, 1)
    stands = (coarse(x).argmax(1) == y) & (coarse(corner).argmax(1) == y)
    attack = Pgd(eps=eps, step=eps, steps=3, random_start=False, objective="margin")
    objectives = [CleanAccuracy(), RobustAccuracy((attack,)), Flops()]
    found = judge_int8(coarse, net, Split(x, y), (TASK,), objectives, seed=0)
    assert found["clean"]["correct"] == int((coarse(x).argmax(1) == y).sum()) < 200
    assert found["robust"].keys() == {"robust_accuracy"}
    assert found["robust"]["robust_accuracy"]["worst_case"]["correct"] == int(stands.sum()) > 0


def test_a_mean_over_attacks_is_that_of_each_alone_and_has_no_interval():
    net = linear([[1.0, 0.0], [0.0, 1.0]])
    coarse = rounded(net, 4)
    x = torch.rand(100, 1, 1, 2, generator=torch_generator(0))
    val = Split(x, net(x).argmax(dim=1))
    attacks = [Pgd(eps=eps, step=eps, steps=3, objective="margin") for eps in (0.05, 0.3)]
    several = [RobustAccuracy((attack,), label=f"alone{i}") for i, attack in enumerate(attacks)]
    mean = RobustAccuracy(tuple(attacks), over="mean")
    robust = judge_int8(coarse, net, val, (TASK,), [*several, mean], seed=0)["robust"]
    alone = [robust[f"alone{i}"]["worst_case"]["accuracy"] for i in (0, 1)]
    assert alone[0] > alone[1]
    expected = {"accuracy": pytest.approx(sum(alone) / 2), "interval": None}
    assert robust["robust_accuracy"]["worst_case"] == expected


def test_the_adaptive_attack_sees_what_the_quantized_network_says():
    """It goes on where the float network is fooled already and the quantized one is not."""
    net = linear([[1.0, 0.0], [0.0, 1.0]])

    def stubborn(x):  # needs a far larger step to turn
        return net(x) + torch.tensor([0.5, 0.0])

    x, y = torch.tensor([[[[0.6, 0.5]]]]), torch.tensor([0])
    attack = Pgd(eps=0.4, step=0.1, steps=8, random_start=False, objective="margin")
    found = judge_int8(stubborn, net, Split(x, y), (TASK,), [RobustAccuracy((attack,))], seed=0)
    robust = found["robust"]["robust_accuracy"]
    assert [robust[how]["correct"] for how in ("adaptive", "transferred", "worst_case")] == [0, 1, 0]


def test_values_are_the_quantized_ones_and_gradients_the_float_ones(finished, val):
    knee = finished.front.knee()
    net = load_network(finished.folder, knee, build(CandidateSpec, knee.candidate.spec))
    coarse = rounded(net, 3)
    through = StraightThrough(coarse, net)
    x = val.pixels(slice(6)).clone().requires_grad_()
    torch.testing.assert_close(through(x), coarse(x))
    torch.testing.assert_close(through.outputs(x).logits[0], coarse(x))
    assert torch.equal(through.outputs(x).logits[1], net.outputs(x).logits[1])
    (ours,) = torch.autograd.grad(through(x)[:, 3].sum(), x)
    (theirs,) = torch.autograd.grad(net(x)[:, 3].sum(), x)
    torch.testing.assert_close(ours, theirs)
    (rounding,) = torch.autograd.grad(coarse(x).sum() + 0 * x.sum(), x)
    assert not rounding.any()


def test_attacks_on_several_tasks_work_too(finished, val):
    knee = finished.front.knee()
    spec = build(CandidateSpec, knee.candidate.spec)
    net = load_network(finished.folder, knee, spec)
    attack = Mixed(eps=0.1, step=0.05, steps=2, alpha0=0.7, weights="batch")
    told = []
    found = judge_int8(
        rounded(net, 8),
        net,
        val.first(40),
        spec.dataset.tasks,
        [RobustAccuracy((attack,), images=24)],
        seed=1,
        progress=lambda *event: told.append(event),
    )
    assert found["robust"]["robust_accuracy"]["images"] == 24
    assert told == [(f"robust_accuracy, {how}", 24, 24) for how in ("adaptive", "transferred")]


def test_a_network_without_layers_to_quantize_is_refused(tmp_path):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = torch.rand(8, 2, 4, 4, generator=torch_generator(0))
    write_programs_of(model, images, tmp_path)
    with pytest.raises(ExportError, match="no layer that could be quantized"):
        write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", Split(images, torch.zeros(8).long()))


def write_programs_of(model, images, folder):
    (folder / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert max(write_programs(model, images, ("a", "b"), folder).parity.values()) <= 1e-6


def test_what_the_quantizer_cannot_do_is_said_and_nothing_is_left(
    finished, tmp_path, monkeypatch, without_programs
):
    def fail(*_):
        raise RuntimeError("no\nkernel for Odd")

    monkeypatch.setattr(int8, "_quantize", fail)
    with pytest.raises(ExportError, match="onnxruntime cannot quantize this network: no kernel for Odd"):
        finished.export("knee", tmp_path / "model", quantize="int8")
    assert list(tmp_path.iterdir()) == []


def test_another_quantization_is_refused_before_any_work(cli, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("moosearch.export.write.load_network", lambda *_: pytest.fail("work began"))
    with pytest.raises(SpecError, match=r"quantize: got 'in8'\. Did you mean 'int8'"):
        finished.export("knee", tmp_path / "model", quantize="in8")
    code, _, err = cli("export", finished.folder.root, "--to", tmp_path / "m", "--quantize", "float16")
    assert (code, err) == (2, "error: quantize: got 'float16'. Known: int8.\n")


def test_calibration_images_are_spread_over_the_training_images(monkeypatch, tmp_path):
    """Data sets may be sorted by class: the first images would be of one."""
    seen = []
    monkeypatch.setattr(int8, "CALIBRATION", 5)
    monkeypatch.setattr(int8, "_quantize", lambda *given: seen.extend(given[3].tolist()))
    monkeypatch.setattr(int8, "_quantized_layers", lambda _: 1)
    train = Split(torch.zeros(101, 1, 2, 2), torch.zeros(101).long())
    made = write_int8(tmp_path / "a", tmp_path / "b", train)
    assert seen == [0, 25, 50, 75, 100]
    assert made["calibration_images"] == 5
    assert all(b > a for a, b in itertools.pairwise(seen))
