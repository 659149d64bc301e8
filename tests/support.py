"""What several tests use: gradients by central differences, and arrays in awkward memory layouts."""

import numpy as np

import kernels
from minicnn import Tensor, random


def run_with_gradients(run, arrays, gy_seed=1):
    """(y, gradients): the op's output and the gradient of each input for a random upstream gradient. Seed 0 throughout."""
    random.seed(0)
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = run(*tensors)
    gy = upstream(y.shape, y.dtype, gy_seed)
    y.backward(gy)
    return y.data, [t.grad for t in tensors]


def upstream(shape, dtype=np.float64, seed=1):
    """A random upstream gradient: ones would hide batch norm's and softmax's mistakes."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def value(run, arrays):
    """The op's output, from seed 0, as an array."""
    random.seed(0)
    return run(*[Tensor(a) for a in arrays]).data


def central_differences(run, arrays, i, gy, step=1e-5):
    """The gradient of Σ gy·run(arrays) with respect to arrays[i], element by element, in float64."""
    gradient = np.zeros_like(arrays[i])
    for at in np.ndindex(arrays[i].shape):
        ends = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[i][at] += sign * step
            ends.append((value(run, moved) * gy).sum())
        gradient[at] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def close(actual, expected, tolerance):
    """Asserts that the largest error is within `tolerance` of the largest expected value."""
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=0)
    error = np.abs(actual - expected).max(initial=0)
    assert error <= tolerance * max(largest, 1e-30) or error == 0, f"error {error:.3g} of largest value {largest:.3g}"


def rungs_above_reference(room):
    """The names of a room's faster rungs."""
    return [name for name in kernels.rungs(room) if name != "reference"]


def strided(array):
    """The same values with gaps in memory and the axes reversed."""
    spread = np.full([2 * side for side in array.shape[::-1]], np.nan, array.dtype)
    view = spread[tuple([slice(None, None, 2)] * array.ndim)].T
    view[...] = array
    return view
