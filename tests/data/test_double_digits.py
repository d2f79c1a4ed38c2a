"""Two digits an image: where they lie, whose pixels are whose, and labels that say both."""

import numpy as np
import pytest
import torch

from moosearch.data import DATASETS, rightly_classified
from moosearch.data.double_digits import DoubleDigits
from moosearch.data.scenes import compose
from moosearch.errors import SpecError


def small(**more):
    return DoubleDigits(source="digits", canvas=18, images=400, test_images=60, **more)


def test_every_object_is_where_its_pixels_say():
    dataset = small()
    test, regions = dataset.load().test, dataset.test_regions()
    assert regions.shape == test.x.shape[:1] + test.x.shape[2:]
    for image, labels, region in zip(test.x[:, 0].numpy(), test.y.numpy(), regions, strict=True):
        assert sorted(set(region[region > 0] - 1)) == np.flatnonzero(labels).tolist()
        assert ((image > 0) == (region > 0)).all()
        boxes = []
        for label in np.flatnonzero(labels):
            rows, columns = np.nonzero(region == label + 1)
            boxes.append((rows.min(), rows.max(), columns.min(), columns.max()))
        (t1, b1, l1, r1), (t2, b2, l2, r2) = boxes
        assert b1 < t2 or b2 < t1 or r1 < l2 or r2 < l1, "their rectangles do not overlap"


def test_regions_follow_the_test_images_that_are_taken():
    whole, some = small(), small(test_size=20)
    x, regions = some.load().test.x, some.test_regions()
    assert len(x) == len(regions) == 20
    images = zip(whole.load().test.x, whole.test_regions(), strict=True)
    everything = {image.numpy().tobytes(): region for image, region in images}
    for image, region in zip(x, regions, strict=True):
        assert (everything[image.numpy().tobytes()] == region).all()
    assert DATASETS.get("digits")().test_regions() is None
    with pytest.raises(SpecError, match="size: got 9, expected 0"):
        small(size=9).test_regions()


def test_objects_are_those_of_the_source():
    x = np.zeros((4, 3, 3), dtype=np.uint8)
    for number in range(4):
        x[number, 1, : number + 1] = number + 1  # rows of 1, 2, 3 pixels, and 3 again
    scenes = compose(x, np.array([0, 1, 2, 3]), 50, canvas=6, generator=np.random.default_rng(0))
    for image, pair, region in zip(scenes.x, scenes.objects, scenes.regions, strict=True):
        assert pair[0] != pair[1]
        for label in pair:
            assert (image[region == label + 1] == label + 1).all()
            assert (region == label + 1).sum() == min(label + 1, 3)
    np.testing.assert_array_equal(scenes.multi_hot(4).sum(axis=1), 2)
    assert len({region.tobytes() for region in scenes.regions}) > 25, "places differ"


def test_seeds_decide_pairs_and_places():
    one, again, other = small().load().train, small().load().train, small(seed=1).load().train
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)
    train, test = small().load().train, small().load().test
    assert not torch.equal(train.x[: len(test)], test.x)


def test_wrong_fields_are_refused():
    with pytest.raises(SpecError, match="canvas: got 50, expected at least 56: two digits of 28"):
        DoubleDigits(canvas=50)
    with pytest.raises(SpecError, match="canvas: got 18, expected at least 20: two digits of 10"):
        small(digit=10)
    with pytest.raises(SpecError, match="of MNIST alone"):
        small(npz="mnist.npz")
    x = np.ones((2, 4, 4), dtype=np.uint8)
    with pytest.raises(SpecError, match="do not fit on 7 x 7 without overlap"):
        compose(x, np.array([0, 1]), 1, canvas=7, generator=np.random.default_rng(0))
    with pytest.raises(SpecError, match="black all over"):
        compose(0 * x, np.array([0, 1]), 1, canvas=9, generator=np.random.default_rng(0))


def test_who_is_rightly_classified():
    logits = torch.tensor([[3.0, 2, 1, 0], [3, 1, 2, 0], [2, 2, 1, 0], [3, 1, 1, 0]])
    labels = torch.tensor([[1, 1, 0, 0]] * 4)
    assert rightly_classified(logits, labels).tolist() == [True, False, True, False]
    assert rightly_classified(logits, torch.tensor([0, 0, 1, 1])).tolist() == [True, True, False, False]
