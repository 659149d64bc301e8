"""Copies, fills and changes of layout: the kernels that move values and compute nothing."""

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import at, first_item, load, split, store
from kernels.device.shim import ITEMS, THREADS, cuda, kernel, launch_flat, launch_items
from kernels.errors import BackendError

AXES = 4        # of a copy, once axes that lie one behind the other in both arrays are made one


def fill(array, value):
    """Every value of the array becomes `value`, in place."""
    launch_items(_fill, array.size, array, array.dtype.type(value), array.size)


def convert(array, dtype):
    """A copy in another dtype."""
    new = DeviceArray(array.shape, dtype)
    launch_items(_convert, array.size, array, new, array.size)
    return new


def strided_copy(source, source_start, source_strides, target, target_start, target_strides, shape):
    """target[start + Σ index · stride] = source[start + Σ index · stride] for every index of `shape`; strides in values.

    All layout changes are this one kernel: a transpose has permuted strides, a broadcast has zeros among them, a slice has a
    start and steps, padding writes into the middle of the target. Where nothing changes, positions need no divisions.
    """
    shape, (from_strides, to_strides) = collapse(shape, (source_strides, target_strides))
    count = int(np.prod(shape))
    if from_strides == to_strides == (0, 0, 0, 1):
        launch_items(_run, count, source, source_start, target, target_start, count)
        return
    launch_items(_strided, count, source, (source_start, *from_strides), target, (target_start, *to_strides), shape, count)


def collapse(shape, strides):
    """(shape, strides) with AXES axes: sides of 1 go, neighbours that lie one behind the other in all arrays become one."""
    axes = []                   # (side, its stride in each array), outermost first
    for side, *steps in zip(shape, *strides):
        if side == 1:
            continue
        if axes and all(outer == step * side for outer, step in zip(axes[-1][1], steps)):
            axes[-1] = (axes[-1][0] * side, steps)
        else:
            axes.append((side, steps))
    if len(axes) > AXES:
        raise BackendError(f"an array of shape {tuple(shape)} in this layout has {len(axes)} axes that cannot be joined, "
                           f"the GPU kernels take {AXES}; reshape it to fewer axes first")
    axes = [(1, [0] * len(strides))] * (AXES - len(axes)) + axes
    return (tuple(int(side) for side, _ in axes),
            tuple(tuple(int(steps[i]) for _, steps in axes) for i in range(len(strides))))


def take(array, key):
    """array[key] for a key with lists or arrays of numbers: the host works out the places, a kernel fetches the values."""
    places = _places(array, key)
    new = DeviceArray(places.shape, array.dtype)
    launch_flat(_take, new.size, array, DeviceArray.of(places.reshape(-1)), new, new.size)
    return new


def add_at(array, key, values):
    """array[key] += values, in place, where what is named twice adds up (numpy.add.at).

    A gather, not a scatter: the places are sorted, so that each place that is named finds its values side by side and adds
    them up in the order in which they were named.
    """
    places = _places(array, key).reshape(-1)
    order = np.argsort(places, kind="stable")
    named, starts = np.unique(places[order], return_index=True)
    if values.size:
        launch_flat(_add_at, named.size, array, values, DeviceArray.of(order), DeviceArray.of(named),
                    DeviceArray.of(np.append(starts, places.size)), named.size)


def _places(array, key):
    """The flat positions that array[key] names, on the host."""
    return np.arange(array.size).reshape(array.shape)[key]


@kernel
def _fill(a, value, count):
    first = first_item()
    for k in range(ITEMS):
        if first + k * THREADS < count:
            a[at(first + k * THREADS)] = value


@kernel
def _convert(a, new, count):
    own, first = cuda.local.array(ITEMS, a.dtype), first_item()
    load(a, first, count, own)
    store(own, first, count, new)


@kernel
def _run(source, source_start, target, target_start, count):
    """Values that lie side by side in both arrays."""
    own, first = cuda.local.array(ITEMS, source.dtype), first_item()
    load(source, source_start + first, source_start + count, own)
    store(own, target_start + first, target_start + count, target)


@kernel
def _strided(source, source_at, target, target_at, shape, count):
    own, places, first = cuda.local.array(ITEMS, source.dtype), cuda.local.array(ITEMS, np.int64), first_item()
    for k in range(ITEMS):
        i, d = split(min(first + k * THREADS, count - 1), shape[3])
        i, c = split(i, shape[2])
        a, b = split(i, shape[1])
        own[k] = source[at(source_at[0] + a * source_at[1] + b * source_at[2] + c * source_at[3] + d * source_at[4])]
        places[k] = target_at[0] + a * target_at[1] + b * target_at[2] + c * target_at[3] + d * target_at[4]
    for k in range(ITEMS):
        if first + k * THREADS < count:
            target[at(places[k])] = own[k]


@kernel
def _take(a, places, new, count):
    i = cuda.grid(1)
    if i < count:
        new[i] = a[places[i]]


@kernel
def _add_at(a, values, order, named, starts, count):
    i = cuda.grid(1)
    if i < count:
        total = a[named[i]]
        for j in range(starts[i], starts[i + 1]):
            total += values[order[j]]
        a[named[i]] = total
