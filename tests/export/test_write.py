"""An export loads and predicts without moosearch, and is refused when it would not be what it claims."""

import dataclasses
import hashlib
import json
import runpy
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

import moosearch
from moosearch.errors import ExportError
from moosearch.export import programs as programs_module
from moosearch.export.files import FILES
from moosearch.export.manifest import on_front
from moosearch.export.programs import write_programs
from moosearch.export.write import export_model
from moosearch.judgment import wilson
from moosearch.registry import build
from moosearch.seeding import torch_generator
from moosearch.training import CandidateSpec
from moosearch.training.weights import load_network


def test_manifest_describes_every_file(exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    files = {path.name for path in exported.iterdir()}
    assert files == {*manifest["files"], "CARD.md", "manifest.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == entry["sha256"]
    assert manifest["parity"].keys() == {"onnx", "torch_export", "network"}
    assert max(manifest["parity"].values()) <= 1e-4
    assert manifest["missing"] == {}
    assert manifest["latency"]["milliseconds"].keys() == {"torch_export", "onnx", "onnx_int8"}
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


def test_no_file_names_a_folder_of_this_machine(exported):
    ours = [str(Path(module.__file__).parent).encode() for module in (moosearch, torch)]
    for path in exported.iterdir():
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for content in contents:
            assert not any(folder in content for folder in ours), path.name


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
    for name in ("spec.yaml", "plots"):  # names that an export has too, without one
        own = tmp_path / f"with-{name}"
        (own / name).mkdir(parents=True)
        with pytest.raises(ExportError, match="not an export"):
            finished.export("knee", own)
        assert (own / name).is_dir()


def test_an_export_is_replaced_with_what_was_made_of_it(exported, finished, tmp_path, without_programs):
    folder = shutil.copytree(exported, tmp_path / "model")
    for name in ("evaluations", "plots", "__pycache__"):
        (folder / name).mkdir()
    assert finished.export("knee", folder) == folder
    names = {path.name for path in folder.iterdir()}
    assert names == FILES - {"model.int8.onnx"}
    assert json.loads((folder / "manifest.json").read_text())["quantized"] is None


def test_the_old_export_is_there_until_the_new_one_is(
    exported, finished, tmp_path, without_programs, monkeypatch
):
    folder = shutil.copytree(exported, tmp_path / "model")
    rename = Path.rename

    def fails(path, target):
        if path.name.endswith(".partial"):
            raise OSError("the disk is gone")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        finished.export("knee", folder)
    assert {path.name for path in folder.iterdir()} == {path.name for path in exported.iterdir()}
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_manifest_knows_who_is_on_the_front(exported, finished):
    folder = finished.folder
    assert json.loads((exported / "manifest.json").read_text())["on_front"] is True
    members = {e.candidate.id for e in finished.front}
    for evaluation in finished.evaluations:
        assert on_front(folder, evaluation) == (evaluation.candidate.id in members)


def test_exporting_into_the_current_folder(finished, tmp_path, monkeypatch, without_programs):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    finished.export("knee", ".")
    assert (tmp_path / "here/model.onnx").is_file()


def test_raw_pixels_go_into_every_program(exported, finished, val):
    """Normalization is inside: what the campaign's network says of raw pixels, every file says of them."""
    knee = finished.front.knee()
    net = load_network(finished.folder, knee, build(CandidateSpec, knee.candidate.spec))
    assert not torch.allclose(net.normalize.mean, torch.zeros(1), atol=0.05)
    x = val.pixels(slice(9))
    with torch.no_grad():
        expected = net(x)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (onnx,) = session.run(["logits"], {"images": x.numpy()})
    program = torch.export.load(exported / "model.pt2").module()
    network = runpy.run_path(str(exported / "network.py"))["load"](exported)
    for logits in (torch.from_numpy(onnx), program(x), network(x)):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    probabilities = moosearch.load_export(exported).predict(x.numpy()).probabilities
    np.testing.assert_allclose(probabilities, expected.softmax(dim=1).numpy(), atol=1e-4)


def test_files_may_be_read_by_whoever_may_read_the_others(exported):
    modes = {path.stat().st_mode for path in exported.iterdir() if path.is_file()}
    assert len(modes) == 1


def test_an_export_with_all_its_files_is_judged(cli, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    code, _, err = cli("evaluate", folder, "--attacks", "fgsm", "--images", 20)
    assert code == 0, err
    assert (folder / "evaluations").is_dir()
    transfer = ("--attacks", "transfer", "--surrogate", exported, "--images", 20)
    assert cli("evaluate", folder, *transfer)[0] == 0


def test_a_network_that_is_no_plain_source_is_exported_without_it(tmp_path):
    class Nested(torch.nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return x.flatten(1)[:, :2] @ torch.ones(2, 2)

    x = torch.rand(8, 1, 4, 4, generator=torch_generator(0))
    found = write_programs(Nested().eval(), x, ("a", "b"), tmp_path)
    assert found.parity.keys() == {"onnx", "torch_export"}
    assert "network.py" in found.missing
    assert not (tmp_path / "network.py").exists()


def test_the_command_tells_sizes_parity_latency_and_int8(cli, exported, finished, monkeypatch):
    manifest = json.loads((exported / "manifest.json").read_text())
    asked = {}

    def export(_, rule, to, **options):
        asked.update(options, rule=rule)
        return exported

    monkeypatch.setattr(moosearch.Campaign, "export", export)
    code, out, _ = cli("export", finished.folder.root, "--quantize", "int8", "--no-latency")
    assert code == 0
    assert (asked["quantize"], asked["latency"], asked["rule"]) == ("int8", False, "knee")
    rows = {words[0]: words for line in out.splitlines() if (words := line.split())}
    for name, entry in manifest["files"].items():
        assert rows[name][1] == f"{entry['bytes']:,}"
    assert rows["model.onnx"][2] == f"{manifest['parity']['onnx']:.1e}"
    times = manifest["latency"]["milliseconds"]["onnx"]
    assert rows["model.onnx"][3:] == [f"{value:.3g}" for value in times]
    worst = manifest["quantized"]["robust"]["robust_accuracy"]["worst_case"]
    assert f"int8: robust_accuracy {worst['accuracy']:.4f} ({worst['interval'][0]:.4f} to" in out
    assert "worst case of attacks on itself" in out


def test_replicates_are_told_apart_from_the_weights_that_are_here(finished, tmp_path, without_programs):
    """The interval is that of the training whose weights are exported."""
    knee = finished.front.knee()
    clean = knee.objectives["clean_accuracy"]
    first, second = (dict(knee.objectives) | {"clean_accuracy": clean + more} for more in (0, 0.1))
    mean = dict(knee.objectives) | {"clean_accuracy": clean + 0.05}
    several = dataclasses.replace(knee, objectives=mean, replicates=(first, second))
    target = export_model(finished.folder, finished.header, several, tmp_path / "model")
    entry = json.loads((target / "manifest.json").read_text())["objectives"]["clean_accuracy"]
    assert (entry["value"], entry["kept"]) == (clean + 0.05, clean)
    assert entry["std"] == pytest.approx(0.1 / 2**0.5)
    assert entry["interval"] == list(wilson(round(clean * 360), 360))
