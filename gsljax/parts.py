"""Splitting many into equal parts."""


def most_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`."""
    return max(divisor for divisor in range(1, limit + 1) if number % divisor == 0)
