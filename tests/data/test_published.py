"""Published data sets: torchvision's files, made up here and small, and what happens without them."""

import pickle
import socket
import struct
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from moosearch.data import DATASETS, TaskSpec, published
from moosearch.data.cifar import Cifar10
from moosearch.data.gtsrb import Gtsrb
from moosearch.data.mnist import FashionMnist, Mnist, Svhn
from moosearch.data.published import Published
from moosearch.data.tiny_imagenet import FOLDER, TinyImageNet
from moosearch.data.wnids import CLASSES
from moosearch.errors import DataUnavailableError, SpecError

PUBLISHED = [name for name in DATASETS if issubclass(DATASETS.get(name), Published)]


@pytest.fixture(autouse=True)
def closed_network(monkeypatch):
    """A network in which no name is known; the addresses that were asked for."""
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(request.full_url)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.delenv("MOOSEARCH_DATA", raising=False)
    return asked


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_mnist(root, name="MNIST"):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        x, y = noise(count, 28, 28), np.arange(count, dtype=np.uint8) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 2051, count, 28, 28) + x.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + y.tobytes())


def test_names_are_registered():
    assert PUBLISHED == ["cifar10", "cifar100", "fashion_mnist", "gtsrb", "mnist", "svhn", "tiny_imagenet"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_files_and_network_the_message_says_what_to_put_where(name, tmp_path, closed_network):
    cls = DATASETS.get(name)
    with pytest.raises(DataUnavailableError) as caught:
        cls(root=str(tmp_path)).prepare()
    message = str(caught.value)
    assert message.startswith(f"{name}: no images in {tmp_path}: the download failed: ")
    assert "Name or service not known" in message
    assert "\n" not in message
    assert all(file in message for file in cls.FILES)
    assert "`root:` or the environment variable MOOSEARCH_DATA" in message
    assert message.endswith("Or name an .npz file with x_train, y_train, x_test, y_test: `npz:`.")
    assert len(closed_network) <= 2, "no more than a mirror is tried again"


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("method", "download"), [("prepare", False), ("load", True)])
def test_only_preparing_downloads_and_only_if_it_may(name, method, download, tmp_path, closed_network):
    dataset = DATASETS.get(name)(root=str(tmp_path), download=download)
    with pytest.raises(DataUnavailableError, match=r"they are not there\. Put there: "):
        getattr(dataset, method)()
    assert not closed_network
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    waits = []

    def silent(*args, **kwargs):
        waits.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    with pytest.raises(DataUnavailableError, match="the download failed: timed out"):
        Cifar10(root=str(tmp_path)).prepare()
    assert waits == [published.PATIENCE]
    assert socket.getdefaulttimeout() is None


def test_the_root_is_the_field_then_the_environment_then_data(tmp_path, monkeypatch):
    def root(**fields):
        with pytest.raises(DataUnavailableError) as caught:
            Mnist(**fields).load()
        return str(caught.value).split(": no images in ")[1].split(": they")[0]

    monkeypatch.chdir(tmp_path)
    assert root() == str(tmp_path / "data")
    monkeypatch.setenv("MOOSEARCH_DATA", "/elsewhere")
    assert root() == "/elsewhere"
    assert root(root="/here") == "/here"


@pytest.mark.parametrize(("cls", "name"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_mnist_files(cls, name, tmp_path, closed_network):
    write_mnist(tmp_path, name)
    dataset = cls(root=str(tmp_path))
    dataset.prepare()
    splits = dataset.load()
    assert not closed_network
    assert (len(splits.train), len(splits.val), len(splits.test)) == (48, 12, 20)
    assert splits.test.x.shape == (20, *dataset.shape)
    assert np.array_equal(splits.test.x[:, 0].numpy(), noise(20, 28, 28))
    assert splits.test.y.tolist() == [*range(10)] * 2


def test_a_part_of_the_files_is_not_enough(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailableError, match="mnist: no images in"):
        Mnist(root=str(tmp_path)).load()


def test_cifar_files(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    labels = [*range(10)] * 2
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        batch = {"data": noise(20, 3072) + np.uint8(number), "labels": labels}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.CLASSES)}))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    splits = Cifar10(root=str(tmp_path)).load()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (80, 20, 20)
    assert np.array_equal(splits.test.x.numpy(), (noise(20, 3072) + np.uint8(5)).reshape(20, 3, 32, 32))
    assert splits.test.y.tolist() == labels


def test_svhn_files(tmp_path, monkeypatch):
    from scipy.io import savemat

    for part, count in (("train", 60), ("test", 20)):
        x = noise(count, 32, 32, 3)
        # In the official files, 10 stands for the digit 0.
        y = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(tmp_path / f"{part}_32x32.mat", {"X": x.transpose(1, 2, 3, 0), "y": y})
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda _: True)
    splits = Svhn(root=str(tmp_path)).load()
    assert np.array_equal(splits.test.x.permute(0, 2, 3, 1).numpy(), noise(20, 32, 32, 3))
    assert splits.test.y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2


@pytest.fixture
def signs(tmp_path):
    """GTSRB's files: 3 tracks of 2 frames a class, of different sizes, a gray a track."""
    base = tmp_path / "gtsrb"
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    (base / "GTSRB/Final_Test/Images").mkdir(parents=True)
    for label in range(43):
        folder = base / f"GTSRB/Training/{label:05}"
        folder.mkdir(parents=True)
        for track in range(3):
            for frame in range(2):
                gray = np.full((9 + frame, 8 + track, 3), 3 * label + track, np.uint8)
                Image.fromarray(gray).save(folder / f"{track:05}_{frame:05}.ppm")
        name = f"{label:05}.ppm"
        Image.fromarray(np.full((7, 7, 3), label, np.uint8)).save(base / "GTSRB/Final_Test/Images" / name)
        lines.append(f"{name};7;7;1;1;6;6;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_gtsrb_files(signs):
    dataset = Gtsrb(root=str(signs), size=6)
    dataset.prepare()
    splits = dataset.load()
    assert dataset.shape == splits.train.x.shape[1:] == (3, 6, 6)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (172, 86, 43)
    grays = splits.test.x.flatten(1)
    assert torch.equal(grays, splits.test.y.to(torch.uint8)[:, None].expand_as(grays))
    tracks = [set(split.x[:, 0, 0, 0].tolist()) for split in (splits.train, splits.val)]
    assert not tracks[0] & tracks[1], "a sign is in training and in validation"
    assert torch.equal(splits.val.x[:, 0, 0, 0] // 3, splits.val.y.to(torch.uint8))


def test_decoded_files_are_kept_until_one_changes(signs, monkeypatch):
    dataset = Gtsrb(root=str(signs), size=6)
    dataset.prepare()
    monkeypatch.setattr("moosearch.data.decoding._decode", None)
    assert len(dataset.load().test) == 43
    (signs / "gtsrb/GTSRB/Final_Test/Images/00000.ppm").write_bytes(b"P6 1 1 255 abc")
    with pytest.raises(TypeError):
        dataset.load()


def test_a_file_that_is_no_image_is_named(signs):
    path = signs / "gtsrb/GTSRB/Training/00007/00001_00001.ppm"
    path.write_text("no image")
    with pytest.raises(SpecError, match=r"00007/00001_00001.ppm: this is no image"):
        Gtsrb(root=str(signs), size=6).prepare()


def test_gtsrb_needs_a_size():
    with pytest.raises(SpecError, match="size: got 0, expected a size"):
        Gtsrb(size=0)


def test_gtsrb_takes_tracks_of_an_npz_file_where_it_has_them(npz):
    tracks = np.repeat(np.arange(86), 3)
    members = {"classes": 43, "train": 6, "y_train": tracks % 43}
    with_tracks = Gtsrb(npz=npz("a.npz", **members, track_train=tracks), size=0, val_size=86)
    assert with_tracks.shape == (3, 6, 6)
    rows = with_tracks._rows(with_tracks.read(download=False))
    assert not {*tracks[rows[0]]} & {*tracks[rows[1]]}
    without = Gtsrb(npz=npz("b.npz", **members), size=0, val_size=86)
    rows = without._rows(without.read(download=False))
    assert {*tracks[rows[0]]} & {*tracks[rows[1]]}
    with pytest.raises(SpecError, match="has no member 'sign'"):
        Gtsrb(npz=npz("b.npz", **members), group_by="sign").load()


@pytest.fixture
def tiny(tmp_path):
    """Tiny ImageNet's files with 2 training images and 1 other a class; the gray is the class."""
    base = tmp_path / FOLDER
    (base / "val/images").mkdir(parents=True)
    lines = []
    for label, wnid in enumerate(CLASSES):
        folder = base / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (64, 64), (label, label, label)).save(folder / f"{wnid}_{number}.JPEG")
        # Some of the real files are gray.
        Image.new("L", (64, 64), label).save(base / f"val/images/val_{label}.JPEG")
        lines.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t62\t62")
    (base / "val/val_annotations.txt").write_text("\n".join(reversed(lines)) + "\n")
    return tmp_path


def test_tiny_imagenet_files(tiny, closed_network):
    dataset = TinyImageNet(root=str(tiny), size=8, auxiliary=("natural_artefact",))
    dataset.prepare()
    splits = dataset.load()
    assert not closed_network
    assert dataset.shape == (3, 8, 8)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (200, 200, 200)
    for split in (splits.train, splits.val, splits.test):
        assert split.x.shape[1:] == dataset.shape
        assert (split.x.float().mean((1, 2, 3)) - split.y).abs().max() <= 2, "JPEG is lossy"


def test_tiny_imagenet_of_some_classes_has_their_tasks(npz):
    wnids = np.array(["n09193705", "n01443537", "n04146614"])  # alp, goldfish, school bus
    both = ("natural_artefact", "animal_machine_others")
    tasks = TinyImageNet(npz=npz(wnids=wnids), auxiliary=both).tasks
    assert tasks[0].groups == ("alp", "goldfish", "school bus")
    assert [tasks[1].groups[group] for group in tasks[1].group_of] == ["natural", "natural", "artefact"]
    assert [tasks[2].groups[group] for group in tasks[2].group_of] == ["others", "animal", "machine"]


def test_tiny_imagenet_whose_classes_are_in_one_group_says_so_when_the_task_is_used(npz):
    path = npz(wnids=np.array(["n09193705", "n01443537", "n01641577"]))
    assert TinyImageNet(npz=path).tasks[0].size == 3
    with pytest.raises(SpecError, match="the task 'natural_artefact' has 1 group"):
        TinyImageNet(npz=path, auxiliary=("natural_artefact",)).prepare()


@pytest.mark.parametrize(
    ("members", "found"),
    [({}, "found no member wnids"), ({"wnids": np.array(["n01443537", "n1", "n2"])}, "found n1, n2,")],
)
def test_tiny_imagenet_needs_the_ids_of_its_classes(npz, members, found):
    with pytest.raises(SpecError, match=f"npz: .*images.npz: {found}"):
        TinyImageNet(npz=npz(**members)).prepare()


def test_own_tasks_of_known_classes_are_checked_at_once():
    own = TaskSpec("own", {"a": ["cat", "dgo"], "b": ["ship"]})
    with pytest.raises(SpecError, match=r"no class is called 'dgo'\. Did you mean 'dog'"):
        Cifar10(own_tasks=(own,))


def test_an_npz_file_must_have_the_classes_of_the_data_set(npz):
    with pytest.raises(SpecError, match=r"y_train: found 0 of class 3 \(cat\), expected at least two"):
        Cifar10(npz=npz()).prepare()
    with pytest.raises(SpecError, match=r"y_train: found labels from 0 to 11, expected 0 to 9"):
        Mnist(npz=npz(classes=12)).prepare()


def test_damaged_files_are_called_damaged(tmp_path):
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{part}-{kind}-ubyte").write_bytes(b"junk of no kind at all")
    with pytest.raises(DataUnavailableError, match="the files are damaged"):
        Mnist(root=str(tmp_path)).prepare()
