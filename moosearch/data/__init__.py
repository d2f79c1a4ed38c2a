"""What is learned: datasets and tasks."""

from moosearch.data import digits  # noqa: F401 (registers)
from moosearch.data.dataset import DATASETS, Dataset, Split, Splits, labels_of
from moosearch.data.tasks import Labels, Task

__all__ = ["DATASETS", "Dataset", "Labels", "Split", "Splits", "Task", "labels_of"]
