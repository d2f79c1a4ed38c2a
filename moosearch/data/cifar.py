"""CIFAR-10 and CIFAR-100."""

from dataclasses import dataclass
from typing import ClassVar

from moosearch.data.dataset import DATASETS
from moosearch.data.published import InMemory
from moosearch.data.tasks import TaskSpec

ANIMAL_VEHICLE = TaskSpec(
    "animal_vehicle",
    {
        "animal": ["bird", "cat", "deer", "dog", "frog", "horse"],
        "vehicle": ["airplane", "automobile", "ship", "truck"],
    },
)
SKY_GROUND_WATER = TaskSpec(
    "sky_ground_water",
    {
        "sky": ["airplane", "bird"],
        "ground": ["automobile", "cat", "deer", "dog", "horse", "truck"],
        "water": ["frog", "ship"],
    },
)
"""Where a class moves or lives. The paper does not list the classes. The frog, an amphibian, is the one
that could stand elsewhere: many of these frogs sit on land."""


@DATASETS.register("cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar10(InMemory):
    """CIFAR-10: 50,000 training and 10,000 test images, 3x32x32, ten classes.

    Auxiliary tasks: ``animal_vehicle`` and ``sky_ground_water``.

    Source: Krizhevsky 2009; tasks of Hyun & Park 2024, table 2.
    """

    TORCHVISION: ClassVar[str] = "CIFAR10"
    FILES: ClassVar[tuple[str, ...]] = (
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
    )
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    CLASSES: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = (ANIMAL_VEHICLE, SKY_GROUND_WATER)


SUPERCLASS = TaskSpec(
    "superclass",
    {
        "aquatic_mammals": ["beaver", "dolphin", "otter", "seal", "whale"],
        "fish": ["aquarium_fish", "flatfish", "ray", "shark", "trout"],
        "flowers": ["orchid", "poppy", "rose", "sunflower", "tulip"],
        "food_containers": ["bottle", "bowl", "can", "cup", "plate"],
        "fruit_and_vegetables": ["apple", "mushroom", "orange", "pear", "sweet_pepper"],
        "household_electrical_devices": ["clock", "keyboard", "lamp", "telephone", "television"],
        "household_furniture": ["bed", "chair", "couch", "table", "wardrobe"],
        "insects": ["bee", "beetle", "butterfly", "caterpillar", "cockroach"],
        "large_carnivores": ["bear", "leopard", "lion", "tiger", "wolf"],
        "large_man-made_outdoor_things": ["bridge", "castle", "house", "road", "skyscraper"],
        "large_natural_outdoor_scenes": ["cloud", "forest", "mountain", "plain", "sea"],
        "large_omnivores_and_herbivores": ["camel", "cattle", "chimpanzee", "elephant", "kangaroo"],
        "medium_mammals": ["fox", "porcupine", "possum", "raccoon", "skunk"],
        "non-insect_invertebrates": ["crab", "lobster", "snail", "spider", "worm"],
        "people": ["baby", "boy", "girl", "man", "woman"],
        "reptiles": ["crocodile", "dinosaur", "lizard", "snake", "turtle"],
        "small_mammals": ["hamster", "mouse", "rabbit", "shrew", "squirrel"],
        "trees": ["maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"],
        "vehicles_1": ["bicycle", "bus", "motorcycle", "pickup_truck", "train"],
        "vehicles_2": ["lawn_mower", "rocket", "streetcar", "tank", "tractor"],
    },
)
"""The data set's own twenty superclasses of five classes each."""


@DATASETS.register("cifar100")
@dataclass(frozen=True, kw_only=True)
class Cifar100(InMemory):
    """CIFAR-100: 50,000 training and 10,000 test images, 3x32x32, a hundred classes.

    Auxiliary task: ``superclass``, of twenty groups.

    Source: Krizhevsky 2009.
    """

    TORCHVISION: ClassVar[str] = "CIFAR100"
    FILES: ClassVar[tuple[str, ...]] = tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta"))
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    # The classes are numbered in alphabetical order.
    CLASSES: ClassVar[tuple[str, ...]] = tuple(
        sorted(str(name) for names in SUPERCLASS.groups.values() for name in names)
    )
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = (SUPERCLASS,)
