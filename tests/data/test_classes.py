"""Class names: their order, and lists that cannot be of the same classes."""

import pytest

from kipax.data.classes import check_same_classes, natural_order
from kipax.errors import UsageError

NUMBERS = [str(i) for i in range(12)]


def test_numbers_are_ordered_by_value():
    assert natural_order(sorted(NUMBERS)) == NUMBERS
    assert natural_order(["03", "1", "2"]) == ["1", "2", "03"]
    assert natural_order(["1.5", "-1", "0.25"]) == ["-1", "0.25", "1.5"]
    assert natural_order(["b10", "b9", "1"]) == ["1", "b10", "b9"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["cat", "dog"], ["0", "1"]),
        (["0", "1"], ["cat", "dog"]),
        (["T-shirt/top", "Ankle boot"], ["t_shirt_top", "ankle_boot"]),
        (["caf\u00e9", "tea"], ["cafe\u0301", "tea"]),
        (["C", "C++"], ["C", "C++"]),
        (["0", "1", "cat"], ["0", "1", "cat"]),
        (["00", "01", "02"], ["0", "1", "2"]),
        (["Cat", "9"], ["cat", "9"]),
    ],
)
def test_lists_that_can_be_the_same(first, second):
    check_same_classes(first, second, "a set", "data")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["cat", "dog"], ["dog", "cat"]),
        (["cat", "dog", "3"], ["dog", "cat", "3"]),  # a number among words is no excuse
        (sorted(NUMBERS), NUMBERS),
        (["0", "1"], ["1", "2"]),
        (["cat", "dog"], ["1", "2"]),
        (["C", "C++"], ["C++", "C"]),
        (["0", "2"], ["cat", "dog"]),
    ],
)
def test_lists_that_cannot_are_shown_both(first, second):
    with pytest.raises(UsageError, match="mean different classes") as error:
        check_same_classes(first, second, "a set", "data")
    assert ", ".join(first) in str(error.value)
    assert ", ".join(second) in str(error.value)


def test_the_class_that_differs_is_named():
    with pytest.raises(UsageError, match="class 2 is 'cow' in a set and 'hen' in data"):
        check_same_classes(["Cat", "dog", "cow"], ["cat", "dog", "hen"], "a set", "data")
