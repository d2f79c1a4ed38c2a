import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.data import labels_of
from moosearch.data.tasks import DIGIT_TASKS, ODD_EVEN, PRIME_COMPOSITE, Task, TaskSpec, select
from moosearch.errors import SpecError
from moosearch.registry import build, to_tree

DIGITS = "0123456789"


def named(spec):
    """Group name of each digit."""
    task = spec.task(DIGITS)
    return [task.groups[group] for group in task.labels(torch.arange(10)).tolist()]


def test_odd_even_groups_digits_by_arithmetic():
    assert named(ODD_EVEN) == ["odd" if digit % 2 else "even" for digit in range(10)]


def test_prime_composite_groups_digits_by_number_of_divisors():
    divisors = [sum(digit % d == 0 for d in range(1, digit + 1)) for digit in range(10)]
    expected = ["prime" if n == 2 else "composite" if n > 2 else "neither" for n in divisors]
    assert named(PRIME_COMPOSITE) == expected


def test_groups_of_digits_keep_the_numbers_that_campaigns_were_trained_with():
    assert ODD_EVEN.task(DIGITS) == Task("odd_even", ("even", "odd"), (0, 1) * 5)
    assert PRIME_COMPOSITE.task(DIGITS) == Task(
        "prime_composite", ("neither", "prime", "composite"), (0, 0, 1, 1, 2, 1, 2, 1, 2, 2)
    )


def test_main_task_is_the_identity():
    y = torch.tensor([2, 0, 1, 2])
    task = Task.main(["a", "b", "c"])
    assert task.size == 3
    assert torch.equal(task.labels(y), y)


def test_labels_of_maps_the_main_label_to_every_task():
    y = torch.tensor([7, 4])
    main, parity = labels_of((Task.main(DIGITS), ODD_EVEN.task(DIGITS)), y)
    assert main.tolist() == [7, 4]
    assert parity.tolist() == [1, 0]


def test_select_keeps_the_order_of_the_names():
    assert select(["prime_composite", "odd_even"], DIGIT_TASKS) == (PRIME_COMPOSITE, ODD_EVEN)
    assert select([], DIGIT_TASKS) == ()


def test_unknown_task_names_the_nearest_and_all_known():
    with pytest.raises(SpecError, match="Did you mean 'prime_composite'") as caught:
        select(["prime_composit"], DIGIT_TASKS)
    assert "Known: odd_even, prime_composite" in str(caught.value)


def test_task_named_twice_is_refused():
    with pytest.raises(SpecError, match="'odd_even' is named twice"):
        select(["odd_even", "odd_even"], DIGIT_TASKS)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=8).filter(lambda of: len(set(of)) > 1), st.randoms())
def test_groups_are_numbered_by_their_first_class_however_they_are_written(group_of, random):
    """A partition is written with groups and classes in any order, by name or number."""
    classes = [f"class {number}" for number in range(len(group_of))]
    groups = list(dict.fromkeys(group_of))
    written = groups.copy()
    random.shuffle(written)
    members = {
        f"group {group}": [
            random.choice([number, classes[number]]) for number, of in enumerate(group_of) if of == group
        ]
        for group in written
    }
    for of in members.values():
        random.shuffle(of)
    task = TaskSpec("t", members).task(classes)
    assert task.groups == tuple(f"group {group}" for group in groups)
    assert [groups[number] for number in task.group_of] == group_of


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"warm": ["cat", "bird"]}, "the task 't' has 1 group, expected at least two"),
        ({"warm": ["cat", "bird", "frog"], "cold": []}, "the group 'cold' of the task 't' is empty"),
        ({"warm": ["cat", "birds"], "cold": ["frog"]}, "no class is called 'birds'. Did you mean 'bird'"),
        ({"warm": ["cat"], "cold": ["frog"]}, "has no group for: bird"),
        ({"warm": ["cat", "bird"], "cold": ["frog", 0]}, "'cat' in 'warm' and in 'cold', expected it once"),
        ({"warm": ["cat", "cat"], "cold": ["frog", 2]}, "'cat' in 'warm' and in 'warm', expected it once"),
        ({"warm": [0, 2], "cold": [3]}, "got class 3, expected 0 to 2"),
        ({"warm": [0, 2], "cold": [-2]}, "got class -2, expected 0 to 2"),
    ],
)
def test_wrong_groups_are_refused(groups, message):
    with pytest.raises(SpecError) as caught:
        TaskSpec("t", groups).task(["cat", "frog", "bird"])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["", "main"])
def test_names_that_cannot_be_are_refused(name):
    with pytest.raises(SpecError, match="expected a name, and not that of the main task"):
        TaskSpec(name, {"a": [0], "b": [1]})


def test_a_number_is_a_place_and_a_text_is_a_name():
    assert TaskSpec("t", {"a": [0], "b": ["0"]}).task(["1", "0"]).group_of == (0, 1)


def test_specs_are_equal_and_hash_alike_whatever_the_order_of_their_groups():
    one = TaskSpec("t", {"a": [0], "b": [1]})
    other = TaskSpec("t", {"b": [1], "a": [0]})
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, TaskSpec("t", {"a": [1], "b": [0]}), TaskSpec("u", {"a": [0], "b": [1]})}) == 3


def test_specs_are_built_from_plain_data_and_written_back():
    tree = {"name": "t", "groups": {"a": [0, "cat"], "b": [1]}}
    spec = build(TaskSpec, tree)
    assert spec == TaskSpec("t", {"a": [0, "cat"], "b": [1]})
    assert to_tree(spec, TaskSpec) == tree
    with pytest.raises(SpecError, match=r"groups"):
        build(TaskSpec, {"name": "t", "groups": {"a": [0.5], "b": [1]}})


def test_within_leaves_out_classes_and_empty_groups():
    spec = TaskSpec("t", {"a": ["x", "y"], "b": ["z"], "c": ["w"]})
    assert spec.within(["y", "w"]) == TaskSpec("t", {"a": ["y"], "c": ["w"]})
    with pytest.raises(SpecError, match="has 1 group, expected at least two"):
        spec.within(["x", "y"])
