"""Splitting many into equal parts."""

from gsljax.parts import most_divisor


def test_the_most_divisor():
    assert [most_divisor(12, limit) for limit in (1, 2, 5, 7, 12, 100)] == [1, 2, 4, 6, 12, 12]
    assert most_divisor(7, 6) == 1
