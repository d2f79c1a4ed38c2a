"""Images on Ray: read in the driver, and sent once to each node, where its workers share them."""

import functools
import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from moosearch.job import Job

if TYPE_CHECKING:
    import numpy as np
    import torch

    from moosearch.data import Splits


@dataclass(frozen=True)
class SharedSplits:
    """Images and labels as they lie in Ray's object store, where nobody may write.

    Attributes:
        key: The dataset that they are of, as a text.
        arrays: Images and labels of the training, validation and test split in turn.
    """

    key: str
    arrays: "tuple[tuple[np.ndarray, np.ndarray], ...]" = field(compare=False, repr=False)


class Store:
    """The datasets of a campaign in the object store of a cluster."""

    def __init__(self) -> None:
        """Start with none."""
        self._references: dict[str, Any] = {}

    def of(self, job: Job) -> Any:
        """Return Ray's reference to the dataset of a job; it is read when it is asked for first.

        Raises:
            Exception: Whatever reading it raises.
        """
        import ray

        from moosearch.data import DATASETS, Dataset
        from moosearch.registry import build

        node = job.candidate.spec["dataset"]
        key = json.dumps(node, sort_keys=True)
        if key not in self._references:
            splits = build(Annotated[Dataset, DATASETS], node).load()
            arrays = tuple(
                (split.x.contiguous().numpy(), split.y.contiguous().numpy())
                for split in (splits.train, splits.val, splits.test)
            )
            self._references[key] = ray.put(SharedSplits(key, arrays))
        return self._references[key]

    def forget(self) -> None:
        """Forget what lay in a cluster that is gone."""
        self._references.clear()


@functools.lru_cache(maxsize=2)
def splits_of(shared: SharedSplits, device: "torch.device") -> "Splits":
    """Return splits that use the object store's memory; training and validation images on the device."""
    import torch

    from moosearch.data import Split, Splits

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        train, val, test = (Split(torch.from_numpy(x), torch.from_numpy(y)) for x, y in shared.arrays)
    return Splits(train.to(device), val.to(device), test)
