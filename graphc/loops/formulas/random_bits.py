"""Counter-based random bits: Threefry-2x32 with 20 rounds.

Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011). A block maps
(key, counter), two 32-bit words each, to two random words. Additions, rotations and exclusive
or only: a vector unit does a block in about 100 operations, half of what Philox-4x32's widening
products take for a word, and an element that needs one word takes the first.
"""

from __future__ import annotations

from graphc.loops.formulas.writer import Value

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
GROUPS = 5  # of four rounds each


def threefry(key0: Value, key1: Value, counter0: Value, counter1: Value) -> tuple[Value, Value]:
    """The two words of one block."""
    keys = (key0, key1, key0 ^ key1 ^ PARITY)
    a, b = counter0 + key0, counter1 + key1
    for group in range(GROUPS):
        for rotation in ROTATIONS[group % 2]:
            a = a + b
            b = rotate(b, rotation) ^ a
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + (group + 1)
    return a, b


def rotate(word: Value, bits: int) -> Value:
    return (word << bits) | (word >> 32 - bits)


def random_bits(key0: Value, key1: Value, counter0: Value, counter1: Value) -> Value:
    """The first word of a block: 32 random bits."""
    return threefry(key0, key1, counter0, counter1)[0]


def random_bits_high(key0: Value, key1: Value, counter0: Value, counter1: Value) -> Value:
    """The second word of the same block."""
    return threefry(key0, key1, counter0, counter1)[1]
