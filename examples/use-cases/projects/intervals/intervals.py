"""Intervals of whole numbers, both ends included."""


def merged(intervals):
    """Joins intervals that overlap or touch."""
    result = []
    for low, high in sorted(intervals):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], high)
        else:
            result.append((low, high))
    return result
