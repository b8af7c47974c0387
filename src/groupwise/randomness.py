"""Counter-based random numbers: one uniform for each (seed, ordinal, sample, position).

A number depends on what it is for and on nothing else: not on the batch, the order in which answers
finish, or how many workers there are. Resuming needs no generator state.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, ordinal: np.ndarray, sample: np.ndarray, position: np.ndarray) -> np.ndarray:
    """float64 in [0, 1), of the common shape of the three int64 arrays.

    SplitMix64 (Steele, Lea, Flood 2014) absorbs one coordinate after another.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.asarray(seed, dtype=np.int64).astype(np.uint64))
        for coordinate in (ordinal, sample, position):
            state = _mix(state ^ np.asarray(coordinate, dtype=np.int64).astype(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def subseed(seed: int, *coordinates: int) -> int:
    """A seed in [0, 2^31) for a generator that wants one, such as an environment's."""
    zero = np.zeros(1, dtype=np.int64)
    for coordinate in coordinates:
        seed = int(uniforms(seed, np.array([coordinate]), zero, zero)[0] * 2**31)
    return seed


def _mix(state: np.ndarray) -> np.ndarray:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
