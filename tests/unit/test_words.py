"""How a sentence names many things."""

from __future__ import annotations

import pytest

from postflight.words import several


@pytest.mark.parametrize(
    ("number", "shown", "said"),
    [
        (1, 1, "a"),
        (2, 1, "a and b"),
        (3, 1, "a and 2 more"),
        (5, 1, "a and 4 more"),
        (1, 3, "a"),
        (3, 3, "a, b and c"),
        (4, 3, "a, b, c and d"),
        (5, 3, "a, b, c and 2 more"),
    ],
)
def test_many_are_named_by_the_first_and_a_number(number: int, shown: int, said: str) -> None:
    assert several("abcde"[:number], shown) == said


def test_nobody_is_not_named() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        several(())
