"""The shipped tasks against what can be known of their classes from elsewhere."""

import pytest
import torch

from moosearch.data import DATASETS
from moosearch.data.cifar import Cifar10, Cifar100
from moosearch.data.gtsrb import Gtsrb
from moosearch.data.mnist import Mnist, Svhn
from moosearch.data.tiny_imagenet import TinyImageNet
from moosearch.data.wnids import CLASSES

PUBLISHED = {
    "mnist": (10, (1, 28, 28), {"odd_even": 2, "prime_composite": 3}),
    "fashion_mnist": (10, (1, 28, 28), {}),
    "svhn": (10, (3, 32, 32), {"odd_even": 2, "prime_composite": 3}),
    "gtsrb": (43, (3, 112, 112), {"circle_polygon": 2, "character_symbol": 2}),
    "cifar10": (10, (3, 32, 32), {"animal_vehicle": 2, "sky_ground_water": 3}),
    "cifar100": (100, (3, 32, 32), {"superclass": 20}),
    "tiny_imagenet": (200, (3, 64, 64), {"natural_artefact": 2, "animal_machine_others": 3}),
}
"""Classes, shape and groups of each task (Hyun & Park 2024, table 2; CIFAR-100's own superclasses)."""


def members(dataset, task):
    """Classes of each group of an auxiliary task, by number."""
    (found,) = [t for t in dataset.tasks if t.name == task]
    return {
        name: [number for number, group in enumerate(found.group_of) if group == index]
        for index, name in enumerate(found.groups)
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_classes_shapes_and_tasks_are_known_without_files(name):
    classes, shape, auxiliary = PUBLISHED[name]
    dataset = DATASETS.get(name)(root="nowhere", auxiliary=tuple(auxiliary))
    assert dataset.shape == shape
    main, *others = dataset.tasks
    assert len(set(main.groups)) == main.size == classes
    assert {task.name: task.size for task in others} == auxiliary
    assert all(len(task.group_of) == classes for task in others)


@pytest.mark.parametrize("cls", [Mnist, Svhn])
def test_digit_tasks_are_arithmetic(cls):
    dataset = cls(auxiliary=("odd_even", "prime_composite"))
    assert members(dataset, "odd_even") == {"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]}
    assert members(dataset, "prime_composite") == {
        "neither": [0, 1],
        "prime": [2, 3, 5, 7],
        "composite": [4, 6, 8, 9],
    }


def test_cifar10_tasks():
    dataset = Cifar10(auxiliary=("animal_vehicle", "sky_ground_water"))
    names = dataset.tasks[0].groups
    assert " ".join(names) == "airplane automobile bird cat deer dog frog horse ship truck"

    def named(task):
        return {group: {names[n] for n in of} for group, of in members(dataset, task).items()}

    vehicles = {"airplane", "automobile", "ship", "truck"}
    assert named("animal_vehicle") == {"vehicle": vehicles, "animal": {*names} - vehicles}
    assert named("sky_ground_water") == {
        "sky": {"airplane", "bird"},
        "water": {"ship", "frog"},
        "ground": {"automobile", "truck", "cat", "deer", "dog", "horse"},
    }


# `coarse_labels` of the official files for the fine labels 0 to 99.
COARSE = """
    4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5
    19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15
    13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13
"""


def test_cifar100_superclasses_are_the_official_ones():
    official = [int(label) for label in COARSE.split()]
    groups = members(Cifar100(auxiliary=("superclass",)), "superclass")
    # Official coarse labels number the superclasses in alphabetical order.
    assert [groups[name] for name in sorted(groups)] == [
        [fine for fine, coarse in enumerate(official) if coarse == label] for label in range(20)
    ]


def test_gtsrb_tasks_follow_the_numbers_of_the_signs():
    """Shapes and contents by official class number, from the German catalogue of signs."""
    dataset = Gtsrb(auxiliary=("circle_polygon", "character_symbol"))
    triangles = [11, 13, *range(18, 32)]  # right of way, yield, and the dangers
    diamond, octagon = [12], [14]
    polygons = sorted(triangles + diamond + octagon)
    circles = [number for number in range(43) if number not in polygons]
    assert members(dataset, "circle_polygon") == {"circle": circles, "polygon": polygons}
    read = [0, 1, 2, 3, 4, 5, 6, 7, 8, 14]  # speeds, the end of 80, and STOP
    symbols = [number for number in range(43) if number not in read]
    assert members(dataset, "character_symbol") == {"character": read, "symbol": symbols}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        *((0, "speed limit 20"), (6, "end of speed limit 80"), (8, "speed limit 120"), (9, "no passing")),
        *((12, "priority road"), (13, "yield"), (14, "stop"), (17, "no entry"), (18, "danger")),
        *((25, "road works"), (27, "pedestrians"), (31, "wild animals"), (32, "end of all limits")),
        *((33, "turn right"), (35, "straight ahead"), (38, "keep right"), (40, "roundabout")),
        (42, "end of no passing for trucks"),
    ],
)
def test_gtsrb_names_stand_at_their_numbers(number, name):
    assert Gtsrb.CLASSES[number] == name


def test_tiny_imagenet_tasks_agree():
    dataset = TinyImageNet(auxiliary=("natural_artefact", "animal_machine_others"))
    things, kinds = (members(dataset, name) for name in dataset.auxiliary)
    assert {*kinds["animal"]} < {*things["natural"]}
    assert {*kinds["machine"]} < {*things["artefact"]}


def test_tiny_imagenet_animals_are_wordnets():
    """WordNet numbers nouns by their kind: animals lie between n013 and n025, and artefacts begin at n026."""
    dataset = TinyImageNet(auxiliary=("natural_artefact", "animal_machine_others"))
    wnids = list(CLASSES)
    assert wnids == sorted(wnids)
    animals = [n for n, wnid in enumerate(wnids) if "n013" < wnid < "n026"]
    assert members(dataset, "animal_machine_others")["animal"] == animals
    # Of the nouns that WordNet files under artefacts (n026 to n046), the spider's web alone grew.
    made = {n for n, wnid in enumerate(wnids) if "n026" < wnid < "n047"}
    artefacts = {*members(dataset, "natural_artefact")["artefact"]}
    assert {CLASSES[wnids[n]] for n in made - artefacts} == {"spider web"}
    assert {CLASSES[wnids[n]] for n in artefacts - made} == {
        *("comic book", "plate", "guacamole", "ice cream", "ice lolly", "pretzel", "mashed potato"),
        *("meat loaf", "pizza", "potpie", "espresso"),
    }


def test_labels_of_a_task_are_those_of_its_groups():
    """From images to groups for one data set, all the way."""
    dataset = Gtsrb(auxiliary=("circle_polygon",))
    labels = dataset.tasks[1].labels(torch.tensor([14, 0]))
    assert [dataset.tasks[1].groups[label] for label in labels] == ["polygon", "circle"]
