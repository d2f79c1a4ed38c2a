import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.data import Augmentation
from moosearch.errors import SpecError
from moosearch.registry import build
from moosearch.seeding import torch_generator


def images(count=64, channels=3, height=6, width=5, dtype=torch.float32):
    x = torch.rand(count, channels, height, width, generator=torch_generator(7))
    return x if dtype == torch.float32 else (x * 255).to(dtype)


def windows(image, crop, flip):
    """Every window that an augmentation may cut, by a plain loop: {(top, left, mirrored): image}."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * crop, width + 2 * crop, dtype=image.dtype)
    padded[:, crop : crop + height, crop : crop + width] = image
    found = {}
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            window = padded[:, top : top + height, left : left + width]
            found[top, left, False] = window
            if flip:
                found[top, left, True] = torch.flip(window, dims=[2])
    return found


def draws(x, augmentation, seed):
    """What was drawn for each image, found by its pixels."""
    drawn = []
    for image, varied in zip(x, augmentation(x, torch_generator(seed)), strict=True):
        options = windows(image, augmentation.crop, augmentation.flip)
        (draw,) = [key for key, window in options.items() if torch.equal(window, varied)]
        drawn.append(draw)
    return drawn


@given(
    crop=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 99),
    channels=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.uint8]),
)
def test_every_image_is_one_of_its_windows(crop, flip, seed, channels, dtype):
    x = images(5, channels, dtype=dtype)
    varied = Augmentation(crop, flip)(x, torch_generator(seed))
    assert varied.dtype == dtype
    assert varied.shape == x.shape
    for image, result in zip(x, varied, strict=True):
        assert any(torch.equal(result, window) for window in windows(image, crop, flip).values())


def test_draws_cover_all_windows_and_are_drawn_for_each_image():
    drawn = draws(images(600), Augmentation(crop=1, flip=True), seed=0)
    counts = [drawn.count(key) for key in windows(images(1)[0], 1, flip=True)]
    assert len(counts) == 18
    # 600 draws of 18: 33 each in the mean; 5 standard deviations of a binomial are 28.
    assert all(5 <= count <= 62 for count in counts)


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    drawn = draws(images(600), Augmentation(flip=True), seed=0)
    assert {key[:2] for key in drawn} == {(0, 0)}
    assert 240 <= sum(mirrored for _, _, mirrored in drawn) <= 360


def test_what_is_off_costs_nothing_and_draws_nothing():
    x, generator = images(), torch_generator(0)
    state = generator.get_state()
    assert Augmentation()(x, generator) is x
    assert torch.equal(generator.get_state(), state)


def test_the_generator_decides_and_the_batch_stays():
    x = images()
    before, augmentation = x.clone(), Augmentation(2, flip=True)
    first, again, other = (augmentation(x, torch_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)


def test_fields_are_checked():
    with pytest.raises(SpecError, match=r"got -1, expected at least 0"):
        build(Augmentation, {"crop": -1})
    assert build(Augmentation, {"crop": 4, "flip": True}) == Augmentation(4, flip=True)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_black_rectangles_lie_anywhere_and_are_no_larger_than_asked(share):
    x = images(400, 2, 10, 8) + 0.01
    varied = Augmentation(erase=share)(x, torch_generator(0))
    heights, widths, corners = set(), set(), set()
    for before, after in zip(x, varied, strict=True):
        black = (after == 0).all(dim=0)
        assert torch.equal(after[:, ~black], before[:, ~black])
        rows, columns = black.any(dim=1).nonzero(), black.any(dim=0).nonzero()
        assert int(black.sum()) == len(rows) * len(columns), "a rectangle"
        heights.add(len(rows))
        widths.add(len(columns))
        if len(rows):
            assert int(rows.max() - rows.min()) == len(rows) - 1
            corners.add((int(rows.min()), int(columns.min())))
    assert max(heights) == int(share * 10)
    assert max(widths) == int(share * 8)
    assert len(corners) > 30
    again = Augmentation(erase=share)(x, torch_generator(0))
    assert torch.equal(again, varied)


def test_without_rectangles_nothing_is_drawn_for_them():
    x = images()
    one, other = torch_generator(3), torch_generator(3)
    Augmentation(crop=1, flip=True)(x, one)
    Augmentation(crop=1, flip=True, erase=0.0)(x, other)
    assert torch.equal(one.get_state(), other.get_state())
    with pytest.raises(SpecError, match="erase"):
        build(Augmentation, {"erase": 1.5})
