"""Randomness is a function of (campaign seed, candidate id, purpose) and of nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from moosearch.seeding import derive_seed, numpy_generator, seeded_torch, torch_generator


def test_derived_seed_repeats():
    assert derive_seed(7, "train", "3f9c") == derive_seed(7, "train", "3f9c")


def test_derived_seed_is_the_same_in_another_process():
    code = "from moosearch.seeding import derive_seed; print(derive_seed(7, 'train', '3f9c'))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) == derive_seed(7, "train", "3f9c")


@pytest.mark.parametrize(
    "other", [(8, "train", "3f9c"), (7, "judge", "3f9c"), (7, "train", "3f9d"), (7, "train", "")]
)
def test_derived_seed_depends_on_every_argument(other):
    assert derive_seed(*other) != derive_seed(7, "train", "3f9c")


def test_derived_seeds_are_63_bits_and_all_different():
    ids = [f"{n:012x}" for n in range(300)]
    seeds = {derive_seed(seed, purpose, i) for seed in (0, 1) for purpose in ("a", "b") for i in ids}
    assert len(seeds) == 1200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_derived_seed_takes_a_whole_candidate_id():
    assert derive_seed(0, "train", "f" * 12) != derive_seed(0, "train", "0" + "f" * 11)


def test_numpy_generators_of_one_seed_draw_the_same():
    first, second = (numpy_generator(2**63 - 1).random(4) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, numpy_generator(0).random(4))


def test_torch_generators_of_one_seed_draw_the_same():
    first, second = (torch.rand(4, generator=torch_generator(2**63 - 1)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first, torch.rand(4, generator=torch_generator(0)))


def test_seeded_torch_seeds_the_block():
    draws = []
    for seed in (5, 5, 6):
        with seeded_torch(seed):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_seeded_torch_puts_the_global_state_back_even_after_an_error():
    def fail():
        with seeded_torch(5):
            torch.rand(4)
            raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
