"""Numbers as a reader wants them: `460k` samples, `1:05` minutes, `-34.12`."""

import math


def format_count(value: float) -> str:
    """Write a count with three significant digits and k, M or G.

    Args:
      value: samples, or samples per second.
    """
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def format_seconds(seconds: float) -> str:
    """Write a duration as minutes:seconds, or hours:minutes:seconds from an hour on.

    Args:
      seconds: duration; a negative one counts as 0.
    """
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_value(value: object) -> str:
    """Write a return or a success rate with at most four digits, and "-" where there is none.

    Args:
      value: a number, or None where no episode ended.
    """
    number = as_number(value)
    if math.isnan(number):
        return "-"
    decimals = 3 if abs(number) < 10 else 2 if abs(number) < 100 else 1 if abs(number) < 1000 else 0
    return f"{number:.{decimals}f}"


def as_number(value: object) -> float:
    """Turn a value read from JSON into a float, NaN where it is absent, null or no number.

    Args:
      value: anything.
    """
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
