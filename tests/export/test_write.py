"""An export loads and predicts without moosearch, and is refused when it would not be what it claims."""

import hashlib
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import moosearch
from moosearch.errors import ExportError
from moosearch.export import programs as programs_module


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


def test_manifest_describes_every_file(exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    files = {path.name for path in exported.iterdir()}
    assert files == {*manifest["files"], "CARD.md", "manifest.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == entry["sha256"]
    assert max(manifest["parity"].values()) <= 1e-4
    assert manifest["output"]["classes"] == [str(digit) for digit in range(10)]


def test_predicts_without_moosearch_as_the_campaign_measured(exported, finished, tmp_path):
    """Another interpreter, in which moosearch cannot be imported, reaches the recorded accuracy."""
    from moosearch.data.digits import Digits

    val = Digits().load().val
    np.savez(tmp_path / "val.npz", x=val.x.numpy(), y=val.y.numpy())
    program = """
        import json, sys
        sys.modules["moosearch"] = None
        import numpy as np, onnxruntime, torch
        folder, images = sys.argv[1:]
        data = np.load(images)
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
        (onnx,) = session.run(["logits"], {"images": data["x"]})
        model = torch.export.load(f"{folder}/model.pt2").module()
        logits = model(torch.from_numpy(data["x"])).detach().numpy()
        print(json.dumps({
            "onnx": int((onnx.argmax(1) == data["y"]).sum()),
            "torch": int((logits.argmax(1) == data["y"]).sum()),
            "difference": float(abs(onnx - logits).max()),
        }))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), exported, tmp_path / "val.npz"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    found = json.loads(result.stdout)
    recorded = round(finished.front.knee().objectives["clean_accuracy"] * len(val))
    assert found["torch"] == recorded
    assert abs(found["onnx"] - recorded) <= 1
    assert found["difference"] <= 1e-4


def test_weights_are_the_deployed_network(exported):
    state = load_file(exported / "weights.safetensors")
    assert sum(t.numel() for name, t in state.items() if name.startswith("2.")) % 10 == 0
    assert not any("heads" in name for name in state)


def test_card_tells_recipe_and_limits(exported, finished):
    card = (exported / "CARD.md").read_text()
    knee = finished.front.knee()
    assert knee.candidate.id in card
    assert "validation split" in card
    for path, value in knee.candidate.genome.items():
        assert f"| `{path}` | {value} |" in card


def test_spec_trains_the_candidate_again(exported, finished, tmp_path):
    again = moosearch.search(exported / "spec.yaml", out=tmp_path / "again")
    (evaluation,) = again.evaluations
    knee = finished.front.knee()
    assert evaluation.candidate.id == knee.candidate.id
    assert evaluation.objectives == knee.objectives


def test_parity_is_really_checked(finished, tmp_path, monkeypatch):
    real = torch.export.load

    class Wrong(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x) + 2e-4

    class Program:
        def __init__(self, program):
            self.program = program

        def module(self):
            return Wrong(self.program.module())

    monkeypatch.setattr(programs_module.torch.export, "load", lambda path: Program(real(path)))
    with pytest.raises(ExportError, match=r"differ by 2\.0"):
        finished.export("knee", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_foreign_weights_are_refused(tiny, tmp_path):
    campaign = moosearch.search(
        tiny(),
        out=tmp_path / "c",
        overrides=["campaign.budget.generations=1", "candidate.training.epochs=5"],
    )
    best = campaign.front.best("clean_accuracy")
    assert best.objectives["clean_accuracy"] > 0.2
    path = campaign.folder.weights(best.candidate.id)
    state = {name: tensor.flip(0) for name, tensor in load_file(path).items()}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    with pytest.raises(ExportError, match="do not belong together"):
        campaign.export(best.candidate.id)
    path.write_bytes(b"not weights")
    with pytest.raises(ExportError, match="not the candidate's weights"):
        campaign.export(best.candidate.id)
    path.unlink()
    with pytest.raises(ExportError, match="weights are not there"):
        campaign.export(best.candidate.id)


def test_a_folder_in_use_is_not_overwritten(finished, tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "manifest.json").write_text("{}")
    (target / "thesis.tex").write_text("years of work")
    for path in (target, target / "thesis.tex"):
        with pytest.raises(ExportError, match="not an export"):
            finished.export("knee", path)
    assert (target / "thesis.tex").read_text() == "years of work"


def test_an_export_is_replaced(exported, finished):
    before = (exported / "manifest.json").stat().st_ino
    assert finished.export("knee", exported) == exported
    assert (exported / "manifest.json").stat().st_ino != before


def test_exporting_into_the_current_folder(finished, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    finished.export("knee", ".")
    assert (tmp_path / "here/model.onnx").is_file()
