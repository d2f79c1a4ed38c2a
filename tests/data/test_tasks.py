import pytest
import torch

from moosearch.data import labels_of
from moosearch.data.tasks import DIGIT_TASKS, ODD_EVEN, PRIME_COMPOSITE, Task, select
from moosearch.errors import SpecError


def named(task):
    """Group name of each digit."""
    return [task.groups[group] for group in task.labels(torch.arange(10)).tolist()]


def test_odd_even_groups_digits_by_arithmetic():
    assert named(ODD_EVEN) == ["odd" if digit % 2 else "even" for digit in range(10)]


def test_prime_composite_groups_digits_by_number_of_divisors():
    divisors = [sum(digit % d == 0 for d in range(1, digit + 1)) for digit in range(10)]
    expected = ["prime" if n == 2 else "composite" if n > 2 else "neither" for n in divisors]
    assert named(PRIME_COMPOSITE) == expected


def test_main_task_is_the_identity():
    y = torch.tensor([2, 0, 1, 2])
    task = Task.main(["a", "b", "c"])
    assert task.size == 3
    assert torch.equal(task.labels(y), y)


@pytest.mark.parametrize("task", DIGIT_TASKS, ids=lambda task: task.name)
def test_every_group_of_a_task_is_used_and_none_is_unnamed(task):
    assert set(task.group_of) == set(range(task.size))
    assert task.labels(torch.arange(10)).dtype == torch.int64


def test_labels_of_maps_the_main_label_to_every_task():
    y = torch.tensor([7, 4])
    main, parity = labels_of((Task.main([str(d) for d in range(10)]), ODD_EVEN), y)
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
