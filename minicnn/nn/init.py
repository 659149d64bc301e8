"""Initial weights. Every function returns a new float32 array drawn from the engine's random state."""

import math

import numpy as np

from minicnn import random
from minicnn.errors import ArgumentError

RELU_GAIN = math.sqrt(2)        # a ReLU halves the variance
CHUNK = 2 ** 16                 # numbers drawn at once: a VGG's 10⁸ would take another gigabyte in float64


def fans(shape):
    """(fan_in, fan_out) of a weight (K, C/groups, R, S) or (out, in): the inputs of one output value, and the reverse."""
    if len(shape) < 2:
        raise ArgumentError(f"init: a weight of shape {tuple(shape)} has no fan; use normal or zeros for one axis")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def he_normal(shape, mode="fan_in", gain=RELU_GAIN):
    """N(0, gain²/fan), with gain √2 for layers before a ReLU. mode: "fan_in" or "fan_out" (torchvision's ResNet).

    Source: He et al. 2015, "Delving deep into rectifiers", equation 10 (fan_in) and 14 (fan_out).
    """
    return normal(shape, gain / math.sqrt(_fan(shape, mode)))


def he_uniform(shape, mode="fan_in", gain=RELU_GAIN):
    """U(-b, b) with the variance of he_normal: b = gain·√(3/fan)."""
    return uniform(shape, gain * math.sqrt(3 / _fan(shape, mode)))


def xavier_normal(shape, gain=1.0):
    """N(0, gain²·2/(fan_in + fan_out)).  Source: Glorot and Bengio 2010, section 4.2.1."""
    return normal(shape, gain * math.sqrt(2 / sum(fans(shape))))


def xavier_uniform(shape, gain=1.0):
    """U(-b, b), b = gain·√(6/(fan_in + fan_out)).  Source: Glorot and Bengio 2010, equation 16."""
    return uniform(shape, gain * math.sqrt(6 / sum(fans(shape))))


def normal(shape, std, mean=0.0):
    """N(mean, std²)"""
    draw = random.generator().standard_normal
    return _in_chunks(shape, lambda count: mean + std * draw(count))


def uniform(shape, bound):
    """U(-bound, bound)"""
    draw = random.generator().uniform
    return _in_chunks(shape, lambda count: draw(-bound, bound, count))


def _in_chunks(shape, draw):
    """draw(count) -> float64 numbers, rounded to float32: the same as of one call, but for the memory it takes."""
    out = np.empty(shape, np.float32)
    flat = out.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        part = flat[start:start + CHUNK]
        part[...] = draw(part.size)
    return out


def _fan(shape, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"init: mode {mode!r} is not 'fan_in' or 'fan_out'; choose one")
    return fans(shape)[mode == "fan_out"]
