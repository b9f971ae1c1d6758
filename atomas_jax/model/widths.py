"""Few sizes for strings of any length and lists of any number: each size of an array is a program to compile."""

SHORTEST = 32
"""Padded lengths are this times powers of two."""

ATTENTION = 1 << 26
"""Pairs of tokens, rows x width^2, that a device attends to at a time: 64 strings of 1,024, fewer of longer ones. A
head holds 256 MiB of them."""


def power_of_two(number: int) -> int:
    """The least power of two that is not below `number` (1 or more)."""
    return 1 << (number - 1).bit_length()


def padded(longest: int) -> int:
    """The width that strings of at most so many tokens are padded to."""
    return SHORTEST * power_of_two(-(-max(longest, 1) // SHORTEST))


def fitting(rows: int, width: int) -> int:
    """As many of `rows` strings of `width` tokens as a device does at a time, a power of two; 1 at least."""
    most = max(1, ATTENTION // width**2)
    return min(power_of_two(rows), 1 << (most.bit_length() - 1))
