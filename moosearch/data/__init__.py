"""What is learned: datasets and tasks."""

# Importing a dataset registers it.
from moosearch.data import cifar, digits, double_digits, gtsrb, image_folder, mnist, npz, tiny_imagenet  # noqa: F401
from moosearch.data.augment import Augmentation
from moosearch.data.dataset import DATASETS, Dataset, Split, Splits, labels_of
from moosearch.data.images import ImageDataset, Images
from moosearch.data.own import own_images
from moosearch.data.statistics import inter_class_variance, similar_classes
from moosearch.data.tasks import Labels, Task, TaskSpec, rightly_classified

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "ImageDataset",
    "Images",
    "Labels",
    "Split",
    "Splits",
    "Task",
    "TaskSpec",
    "inter_class_variance",
    "labels_of",
    "own_images",
    "rightly_classified",
    "similar_classes",
]
