import json
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.training.state import pack, unpack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw):
    """Tensors of any layout: permuted, strided, expanded, of no dimension, empty."""
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    values = torch.randint(0, 200, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = values.to(draw(st.sampled_from(DTYPES))).permute(draw(st.permutations(range(len(shape)))))
    if tensor.ndim:
        tensor = draw(st.sampled_from([tensor, tensor[::2], tensor.unsqueeze(0).expand(2, *tensor.shape)]))
    return tensor


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
trees = st.recursive(
    scalars | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(st.integers(), st.integers(), max_size=3).map(Counter)
    ),
    max_leaves=12,
)


def same(first, second):
    """Whether two trees are the same in every bit and type; NaN is itself."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (first != first and second != second)


@given(trees, st.text())
@settings(max_examples=200, deadline=None)
def test_a_tree_comes_back_as_it_was(tree, mark):
    assert same(tree, unpack(pack(tree, mark), mark))


@given(tensors().filter(lambda tensor: 0 not in tensor.stride() and tensor.numel() > 1))
@settings(deadline=None)
def test_dimensions_keep_their_order_in_memory(tensor):
    """Elementwise operations go through memory in this order, and so may their rounding."""
    again, long = unpack(pack(tensor, ""), ""), [d for d in range(tensor.ndim) if tensor.shape[d] > 1]
    assert sorted(long, key=tensor.stride) == sorted(long, key=again.stride)
    assert max(1 + sum(again.stride(d) * (again.shape[d] - 1) for d in long), 1) == again.numel()


def test_a_tensor_that_is_there_twice_is_written_once():
    tensor = torch.rand(1000)
    assert len(pack([tensor, {"again": tensor}], "")) < 1.5 * tensor.nbytes
    first, second = unpack(pack([tensor, tensor], ""), "")
    assert torch.equal(first, second)


def test_views_of_one_storage_and_parameters_survive():
    rows = torch.arange(12.0).view(3, 4)
    tree = {0: rows[1], 1: rows[:, 1], 2: nn.Parameter(rows.t())}
    assert same(unpack(pack(tree, ""), ""), {0: rows[1], 1: rows[:, 1], 2: rows.t()})


def test_what_is_nothing_of_the_kind_is_refused():
    with pytest.raises(TypeError, match="cannot be packed: set"):
        pack({"a": {1, 2}}, "")


def test_another_mark_is_somebody_else_s():
    data = pack([1, torch.ones(3)], "mine")
    assert unpack(data, "yours") is None
    assert unpack(data, "mine")[0] == 1


def whole():
    tree = {"history": [{"loss": 0.5}], 1: torch.arange(40.0), (2, "a"): Counter({3: 1}), "z": torch.ones(())}
    return pack(tree, "mark")


def test_cut_short_at_any_place_it_is_nothing():
    data = whole()
    assert all(unpack(data[:length], "mark") is None for length in range(len(data)))


def test_a_changed_byte_at_any_place_makes_it_nothing_or_changes_nothing():
    data, original = whole(), unpack(whole(), "mark")
    for place in range(len(data)):
        for flip in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= flip
            found = unpack(bytes(damaged), "mark")
            assert found is None or same(found, original), place


@given(st.binary(max_size=200))
def test_any_bytes_are_nothing(data):
    assert unpack(data, "") is None


def test_other_safetensors_are_nothing():
    from safetensors.torch import save

    assert unpack(save({"a": torch.ones(2)}), "") is None
    assert unpack(save({"a": torch.ones(2)}, {"mark": "m", "tree": json.dumps([1])}), "m") is None
