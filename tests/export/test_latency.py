"""What is measured and what is left out; times themselves are not tested."""

import pytest
import torch
from torch import nn

from moosearch.export import latency


@pytest.fixture
def ran():
    """Batch sizes that a program ran on."""
    return []


def measured(ran, **bounds):
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten())

    def program(x):
        ran.append(len(x))
        return model(x)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in bounds.items():
            patch.setattr(latency, name, value)
        return latency.measure({"one": program, "other": program}, model, (1, 5, 5), (1, 8, 64))


def test_every_program_is_timed_at_every_size(ran):
    found = measured(ran)
    assert found["batches"] == [1, 8, 64]
    assert found["milliseconds"].keys() == {"one", "other"}
    assert all(value > 0 for values in found["milliseconds"].values() for value in values)
    assert min(ran.count(size) for size in (1, 8, 64)) >= 2 * (2 + 3), "two warm, three timed at least"
    assert max(ran.count(size) for size in (1, 8, 64)) <= 2 * (2 + latency.REPEATS)
    assert (found["device"], found["threads"]) == ("cpu", torch.get_num_threads())
    assert found["cpu"]
    assert found["cores"] >= found["threads"] > 0


def test_a_batch_that_takes_too_much_memory_is_left_out(ran):
    per_image = 4 * (100 + 100 + 100)  # outputs of the three layers, in float32
    found = measured(ran, MEMORY=8 * per_image)
    assert [value is None for value in found["milliseconds"]["one"]] == [False, False, True]
    assert measured(ran, MEMORY=8 * per_image - 1)["milliseconds"]["one"][1] is None
    assert measured(ran, MEMORY=0)["milliseconds"]["one"][0] is not None, "one image always"
    assert 64 not in ran


def test_a_batch_that_takes_too_long_is_left_out(ran):
    found = measured(ran, LONGEST=0)
    assert [value is None for value in found["milliseconds"]["other"]] == [False, True, True]
    assert set(ran) == {1}
