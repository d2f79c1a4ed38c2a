import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.data import Split, dataset
from moosearch.seeding import torch_generator


def stored(images=11, channels=3, dtype=torch.uint8):
    x = torch.randint(0, 256, (images, channels, 4, 5), generator=torch_generator(0), dtype=torch.uint8)
    return Split(x if dtype == torch.uint8 else x.to(dtype) / 255, torch.arange(images))


def test_bytes_stand_for_x_over_255():
    every = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    pixels = Split(every, torch.zeros(4, dtype=torch.int64)).pixels()
    assert pixels.dtype == torch.float32
    expected = (np.arange(256) / 255).astype(np.float32)
    assert np.array_equal(pixels.flatten().numpy(), expected)
    assert every.flatten().tolist() == list(range(256)), "what is stored stays"


def test_stored_floats_are_not_copied_in_order():
    split = stored(dtype=torch.float32)
    assert split.pixels().data_ptr() == split.x.data_ptr()
    batch = list(split.batches(4))[1]
    assert batch.x.data_ptr() == split.x[4:].data_ptr()


@pytest.mark.parametrize("rows", [slice(2, 5), slice(None), torch.tensor([3, 0, 3])])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_of_some_rows(rows, dtype):
    split = stored(dtype=dtype)
    assert torch.equal(split.pixels(rows), split.pixels()[rows])


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_bytes_and_floats_give_the_same_batches(seed):
    passes = []
    for dtype in (torch.uint8, torch.float32):
        generator = None if seed is None else torch_generator(seed)
        batches = list(stored(dtype=dtype).batches(4, generator))
        assert all(batch.x.dtype == torch.float32 for batch in batches)
        passes.append((torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])))
    assert torch.equal(passes[0][0], passes[1][0])
    assert torch.equal(passes[0][1], passes[1][1])


def test_images_stay_as_they_are_stored_on_the_device():
    assert stored().to(torch.device("cpu")).x.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@given(images=st.integers(1, 9), channels=st.integers(1, 3), chunk=st.integers(1, 10))
def test_moments_are_those_of_all_pixels_whatever_the_chunk(dtype, images, channels, chunk):
    split = stored(images, channels, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "CHUNK", chunk)
        mean, std = split.moments()
    pixels = split.x.numpy().astype(np.float64) / (255 if dtype == torch.uint8 else 1)
    by_channel = pixels.transpose(1, 0, 2, 3).reshape(channels, -1)
    assert mean.shape == std.shape == (channels,)
    assert mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(mean, by_channel.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std, by_channel.std(axis=1, ddof=1), rtol=1e-6)


def test_moments_of_bytes_do_not_depend_on_the_order_of_images():
    split = stored(600)
    turned = Split(split.x.flip(0), split.y.flip(0))
    assert all(torch.equal(a, b) for a, b in zip(split.moments(), turned.moments(), strict=True))


def test_images_of_one_value_have_no_deviation():
    mean, std = Split(torch.full((3, 1, 2, 2), 0.3), torch.zeros(3, dtype=torch.int64)).moments()
    assert mean.item() == pytest.approx(0.3)
    assert std.item() == pytest.approx(0, abs=1e-6)
