"""Seeded, counter-based random numbers: the whole state is a seed and a count, so that it fits any checkpoint.

Every random draw of the engine takes the next 64-bit key: dropout and drop-path hash it with the element's number
(kernels.dropout), weight initialisation seeds a NumPy generator with it. Nothing depends on the number of threads.
"""

import numpy as np

from minicnn.errors import ArgumentError

_GAMMA, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
_state = {"seed": 0, "count": 0}


def seed(value):
    """Start everything random in the engine anew from the integer `value`. Raises ArgumentError if it is none."""
    if not hasattr(value, "__index__"):
        raise ArgumentError(f"seed: {value!r} is not an integer; pass for example 0")
    set_state({"seed": int(value), "count": 0})


def next_key():
    """The next 64-bit key: SplitMix64's mixing function (Steele et al. 2014) of seed and count."""
    _state["count"] += 1
    return _mix(_mix(_state["seed"] & _MASK) + _state["count"] * _GAMMA)


def generator():
    """A NumPy generator seeded with the next key."""
    return np.random.default_rng(next_key())


def get_state():
    """{"seed", "count"}: all there is to keep for an exact resume."""
    return dict(_state)


def set_state(state):
    """Go on from what get_state returned."""
    _state.update(seed=int(state["seed"]), count=int(state["count"]))


def _mix(z):
    z &= _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)
