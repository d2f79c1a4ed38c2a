"""Predicting with an export: what it says, from which files, and what it refuses."""

import csv
import io
import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import onnxruntime
import pytest
import scipy.special
from PIL import Image

import moosearch
from moosearch.errors import CampaignError, SpecError
from moosearch.export import predict
from moosearch.export.images import as_pixels, read_images

GRAY, COLOR = (1, 4, 5), (3, 4, 5)


def shades(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export that may be damaged."""
    return shutil.copytree(exported, tmp_path / "copy")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(shades(8, 8)).save(path)
    return path


def test_it_reaches_the_accuracy_that_the_campaign_recorded(exported, finished, val):
    """Pixels go in as they are: normalization is inside."""
    model = moosearch.load_export(exported)
    predictions = model.predict(val.pixels().numpy())
    right = (predictions.labels == val.y.numpy()).mean()
    assert abs(right - finished.front.knee().objectives["clean_accuracy"]) <= 1 / len(val)
    assert predictions.names == [model.classes[label] for label in predictions.labels]
    assert model.candidate == finished.front.knee().candidate.id


@pytest.mark.parametrize("int8", [False, True])
def test_probabilities_are_the_softmax_of_the_files_logits(exported, val, int8, monkeypatch):
    monkeypatch.setattr(predict, "BATCH", 7)
    x = val.pixels(slice(20)).numpy()
    path = exported / ("model.int8.onnx" if int8 else "model.onnx")
    (logits,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        None, {"images": x}
    )
    found = moosearch.load_export(exported, int8=int8).predict(x)
    np.testing.assert_allclose(found.probabilities, scipy.special.softmax(logits, axis=1), atol=1e-6)
    best = found.top(3)
    assert [name for (name, _), *_ in best] == found.names
    assert all(a >= b >= c for (_, a), (_, b), (_, c) in best)


def test_it_needs_neither_torch_nor_ray(exported, image, tmp_path):
    program = f"""
        import sys
        sys.modules |= dict.fromkeys(["torch", "ray", "pandas", "optuna", "safetensors"])
        sys.argv = ["moosearch", "predict", {str(exported)!r}, {str(image)!r}, "--csv"]
        from moosearch.cli import main
        main()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2


def test_an_export_of_the_older_format_predicts_and_is_judged(copy, image, cli):
    """Format 1 had neither network.py nor what is measured of it."""
    manifest = json.loads((copy / "manifest.json").read_text())
    new = ("latency", "quantized", "missing", "threats", "seconds", "trained_on", "images")
    manifest = {key: value for key, value in manifest.items() if key not in new} | {"format": 1}
    manifest["objectives"] = {
        name: {key: entry[key] for key in ("value", "sense", "unit")}
        for name, entry in manifest["objectives"].items()
    }
    for name in ("network.py", "model.int8.onnx"):
        del manifest["files"][name]
        (copy / name).unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert len(moosearch.load_export(copy).predict(np.zeros((2, 8, 8))).names) == 2
    code, _, err = cli("evaluate", copy, "--attacks", "fgsm", "--images", 5)
    assert code == 0, err
    code, _, err = cli("predict", copy, image, "--int8")
    assert code == 2
    assert "holds no `model.int8.onnx`: `moosearch export --quantize int8` writes one." in err


@pytest.mark.parametrize("shape", [GRAY, COLOR])
def test_every_arrangement_of_a_batch_is_the_same_batch(shape):
    channels = shape[0]
    x = shades(6, *shape)
    expected = x.astype(np.float32) / 255
    same = [x, x.transpose(0, 2, 3, 1), expected, expected.astype(np.float64), x.tolist()]
    same[-1] = np.asarray(same[-1], np.uint8)
    if channels == 1:
        same.append(x[:, 0])
    for images in same:
        found = as_pixels(images, shape)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, atol=1e-7)
    for one in (x[0], x[0].transpose(1, 2, 0), *((x[0, 0],) if channels == 1 else ())):
        np.testing.assert_allclose(as_pixels(one, shape), expected[:1])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 1, 5, 4)), r"got shape \(2, 1, 5, 4\), expected \(N, 1, 4, 5\) or \(N, 4, 5\)"),
        (np.zeros((2, 3, 4, 5)), r"got shape \(2, 3, 4, 5\)"),
        (np.zeros(20), r"got shape \(20,\)"),
        (np.zeros((0, 1, 4, 5)), "holds no image"),
        (np.zeros((2, 4, 5), np.int64), "got values of type int64, expected floats in .* or uint8"),
        (np.zeros((2, 4, 5), bool), "type bool"),
        (np.zeros((2, 4, 5), complex), "type complex128"),
        (np.full((2, 4, 5), "a"), "type <U1"),
        (np.full((2, 4, 5), np.nan), "got NaN"),
        (np.full((2, 4, 5), np.inf), "from inf to inf"),
        (np.full((2, 4, 5), 1e300), "from inf to inf"),
        (np.full((2, 4, 5), 200.0), r"values from 200 to 200, expected \[0, 1\]. Bytes go in as uint8"),
        (np.full((2, 4, 5), -0.4), r"values from -0.4 to -0.4, .*give raw pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_arrays_are_refused(images, words):
    with pytest.raises(SpecError, match=words):
        as_pixels(images, GRAY)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, "png") for mode in ("L", "RGB", "RGBA", "1", "P")]
    + [("RGB", "bmp"), ("P", "gif"), ("L", "jpg"), ("RGB", "jpeg")],
)
@pytest.mark.parametrize("shape", [GRAY, COLOR])
def test_image_files_are_converted_to_the_models_channels(tmp_path, mode, suffix, shape):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(shades(4, 5, 3)).convert(mode).save(path)
    found = read_images([path], shape)
    kind = "L" if shape == GRAY else "RGB"
    with Image.open(path) as image:
        expected = np.asarray(image.convert(kind), np.float32).reshape(4, 5, -1) / 255
    np.testing.assert_allclose(found.pixels, expected.transpose(2, 0, 1)[None])
    assert found.names == (str(path),)


def test_sixteen_bits_and_turned_photographs_are_read_as_they_look(tmp_path):
    deep = (shades(4, 5).astype(np.uint16) << 8) + 77
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_images([tmp_path / "deep.png"], GRAY).pixels[0, 0]
    np.testing.assert_allclose(found, (deep >> 8) / 255, atol=1e-6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    upright = Image.fromarray(shades(4, 5))
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(
        read_images([tmp_path / "turned.png"], GRAY).pixels[0, 0], shades(4, 5) / np.float32(255)
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pixels_have_no_color_that_could_be_known(tmp_path, mode):
    image = Image.fromarray(shades(4, 5)).convert(mode)
    if mode == "P":
        image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    else:
        image.putalpha(Image.fromarray(np.full((4, 5), 254, np.uint8)))
        image.save(tmp_path / "a.png")
    with pytest.raises(SpecError, match=r"a.png: has transparent pixels"):
        read_images([tmp_path / "a.png"], GRAY)


def test_files_of_several_kinds_go_together_in_order(tmp_path):
    x = shades(3, 4, 5)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x / 255, y=np.arange(3))
    np.savez(tmp_path / "c.NPZ.npz", only=x[:1])
    Image.fromarray(x[2]).save(tmp_path / "d.png")
    paths = [tmp_path / name for name in ("d.png", "a.npy", "b.npz")]
    found = read_images(paths, GRAY, key="x")
    assert [name.removeprefix(str(tmp_path)) for name in found.names] == [
        "/d.png",
        *(f"/a.npy[{row}]" for row in range(3)),
        *(f"/b.npz:x[{row}]" for row in range(3)),
    ]
    np.testing.assert_allclose(found.pixels[:, 0] * 255, np.concatenate([x[2:], x, x]), atol=1e-4)
    assert read_images([tmp_path / "c.NPZ.npz"], GRAY).names[0].endswith(":only[0]")


def test_size_is_changed_only_when_that_is_asked_for(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((9, 30), 51, np.uint8)).save(path)
    with pytest.raises(SpecError, match=r"a.png: got 9 x 30 pixels, expected 4 x 5 .*--resize"):
        read_images([path], GRAY)
    np.testing.assert_allclose(read_images([path], GRAY, resize=True).pixels, np.full((1, 1, 4, 5), 0.2))


def unreadable(folder):
    """Files that are not what they seem: name -> words of the refusal."""
    np.savez(folder / "two.npz", x=np.zeros((1, 8, 8)), y=np.zeros(1))
    np.savez(folder / "none.npz")
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "objects.npy").read_bytes()[:20])
    (folder / "text.npz").write_text("no archive")
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    Image.fromarray(shades(80, 80)).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "float.tiff")
    return {
        "two.npz": "holds x, y; say which with --key NAME",
        "none.npz": "holds nothing; say which",
        "objects.npy": "cannot be read as NumPy's arrays",
        "cut.npy": "cannot be read as NumPy's arrays",
        "text.npz": "cannot be read as NumPy's arrays",
        "empty.npy": "cannot be read as NumPy's arrays",
        "text.png": "this is no image that can be read",
        "cut.png": "the image cannot be decoded",
        "float.tiff": "32 bits",
        "gone.png": "there is no such file",
        ".": "this is a folder",
    }


def test_files_that_cannot_be_read_are_one_line(cli, exported, tmp_path):
    for name, words in unreadable(tmp_path).items():
        code, out, err = cli("predict", exported, tmp_path / name)
        assert (code, out) == (2, ""), name
        assert err.count("\n") == 1
        assert str(tmp_path / name) in err
        assert words in err, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top", "11"], "--top: got 11, expected at most 10"),
        (["--csv", "--json"], "--csv and --json cannot both be printed"),
        (["--top", "0"], "Invalid value for '--top'"),
    ],
)
def test_wrong_options_are_refused(cli, exported, image, arguments, words):
    code, out, err = cli("predict", exported, image, *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_an_unknown_array_is_refused_with_the_nearest_name(cli, exported, tmp_path):
    np.savez(tmp_path / "a.npz", x_test=np.zeros((1, 8, 8)), y_test=np.zeros(1))
    _, _, err = cli("predict", exported, tmp_path / "a.npz", "--key", "x_tst")
    assert "there is no 'x_tst' in it. Did you mean 'x_test'?" in err


def damage(folder, kind):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if kind == "gone":
        path.unlink()
    elif kind == "cut":
        path.write_text(path.read_text()[:200])
    elif kind == "program":
        (folder / "model.onnx").write_bytes(b"x" + (folder / "model.onnx").read_bytes())
    elif kind == "no program":
        (folder / "model.onnx").unlink()
    elif kind == "both":
        (folder / "model.onnx").write_bytes(b"nothing")
        manifest["files"]["model.onnx"]["sha256"] = predict.sha256(b"nothing")
        path.write_text(json.dumps(manifest))
    else:
        changed = {
            "newer": {"format": 9},
            "shape": {"input": {"shape": ["batch", 1, 8]}},
            "other shape": {"input": {"shape": ["batch", 3, 8, 8]}},
            "classes": {"output": {"classes": []}},
            "other classes": {"output": {"classes": ["a", "b"]}},
            "files": {"files": {"model.onnx": {}}},
            "unlisted": {"files": {}},
            "list": None,
        }[kind]
        path.write_text(json.dumps([] if changed is None else manifest | changed))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "gone",
            "no exported model here, `manifest.json` is missing. Write one with `moosearch export DIR`.",
        ),
        ("cut", "manifest.json: damaged"),
        ("program", "model.onnx: was changed: its SHA-256 is not that of manifest.json. Export it again."),
        ("no program", "model.onnx: cannot be read: No such file"),
        ("both", "model.onnx: cannot be loaded"),
        ("newer", "is of format 9, of a newer moosearch; this one knows 2."),
        ("shape", "not the manifest of an export: input.shape"),
        ("classes", "not the manifest of an export: output.classes"),
        ("other classes", "its logits are not 2 finite numbers an image"),
        ("files", "not the manifest of an export: files.model.onnx"),
        ("unlisted", "damaged: it does not list `model.onnx`"),
        ("list", "not the manifest of an export"),
    ],
)
def test_damaged_exports_are_refused_in_one_line(cli, copy, image, kind, words):
    damage(copy, kind)
    code, out, err = cli("predict", copy, image)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_manifest_of_another_shape_does_not_reach_the_user_as_a_traceback(copy):
    damage(copy, "other shape")
    with pytest.raises(CampaignError, match="cannot be run"):
        moosearch.load_export(copy).predict(np.zeros((1, 3, 8, 8)))


def test_what_is_printed_is_what_was_predicted(cli, exported, tmp_path, val):
    np.save(tmp_path / "a.npy", val.pixels(slice(3)).numpy())
    expected = moosearch.load_export(exported).predict(val.pixels(slice(3)).numpy()).top(3)
    code, out, _ = cli("predict", exported, tmp_path / "a.npy", "--json", "--top", 3)
    assert code == 0
    for row, (told, ranked) in enumerate(zip(json.loads(out), expected, strict=True)):
        assert told["image"] == f"{tmp_path}/a.npy[{row}]"
        assert (told["class"], told["probability"]) == ranked[0]
        assert [(each["class"], each["probability"]) for each in told["top"]] == ranked
    _, out, _ = cli("predict", exported, tmp_path / "a.npy", "--csv", "--top", 3)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [
        "image",
        "class",
        "probability",
        "class_2",
        "probability_2",
        "class_3",
        "probability_3",
    ]
    assert [(row["class_3"], float(row["probability_3"])) for row in rows] == [r[2] for r in expected]
    _, out, _ = cli("predict", exported, tmp_path / "a.npy")
    assert "runner-up" in out
    for (first, value), (second, less), _ in expected:
        assert f"{value:.4f}" in out
        assert f"{second} ({less:.4f})" in out
        assert first in out
    _, out, _ = cli("predict", exported, tmp_path / "a.npy", "--top", 1)
    assert "runner-up" not in out
