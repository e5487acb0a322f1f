"""Numbers as a reader sees them."""

import math

import pytest

from gsljax.report.text import as_number, format_count, format_seconds, format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.5, "0.5"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (15_320, "15.3k"),
        (460_000, "460k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (100_000_000, "100M"),
        (2_500_000_000, "2.5G"),
    ],
)
def test_counts(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0:00"), (0.4, "0:00"), (59.6, "1:00"), (65, "1:05"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.nan, "-"), (0.98, "0.980"), (-34.123, "-34.12"), (-434.123, "-434.1"), (12345.6, "12346")],
)
def test_values(value, text):
    assert format_value(value) == text


def test_only_numbers_are_numbers():
    assert as_number(3) == 3.0
    assert all(math.isnan(as_number(value)) for value in (None, "3", True, [3]))
