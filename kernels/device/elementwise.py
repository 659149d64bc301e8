"""Elementwise arithmetic: load, compute, store. What is computed is chosen by a number that all threads share, so that their
branches go the same way; these kernels wait for memory and not for arithmetic."""

import math

import numpy as np

from kernels.device.array import DeviceArray, same_dtype
from kernels.device.copies import collapse
from kernels.device.launching import at, first_item, load, split, store
from kernels.device.shim import ITEMS, THREADS, cuda, device_function, kernel, launch_items
from kernels.errors import BackendError


def binary(name, op, a, b, out=None):
    """out = a op b with NumPy's broadcasting; one of the two may be a number. `out` may be a or b itself."""
    if not isinstance(a, DeviceArray) or not isinstance(b, DeviceArray):
        return _with_number(name, op, a, b, out)
    same_dtype(f"numpy.{name}", a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    out = _target(out, shape, a.dtype)
    if a.shape == b.shape:
        launch_items(_alike, out.size, op, a, b, out, out.size)
    else:
        steps = [np.broadcast_to(x.shadow(), shape).strides for x in (a, b)]
        sides, (a_steps, b_steps) = collapse(shape, steps)
        launch_items(_broadcast, out.size, op, a, b, a_steps, b_steps, sides, out, out.size)
    return out


def unary(op, x, out=None):
    """out = op(x)"""
    out = _target(out, x.shape, x.dtype)
    launch_items(_unary, x.size, op, x, out, x.size)
    return out


def _with_number(name, op, a, b, out):
    array, number, number_first = (a, b, False) if isinstance(a, DeviceArray) else (b, a, True)
    if np.ndim(number):
        host, where = (number, "first") if number_first else (number, "second")
        raise BackendError(f"numpy.{name}: the {where} array (shape {np.shape(host)}) is on cpu, the other (shape "
                           f"{array.shape}) on cuda; move one of them with .to('cuda') or .to('cpu')")
    out = _target(out, array.shape, array.dtype)
    launch_items(_number, out.size, op, array, array.dtype.type(number), number_first, out, out.size)
    return out


def _target(out, shape, dtype):
    if out is None:
        return DeviceArray(shape, dtype)
    if not isinstance(out, DeviceArray) or out.shape != tuple(shape) or out.dtype != dtype:
        raise BackendError(f"an operation in place needs a device array of shape {tuple(shape)} and {dtype}, not {out!r}; "
                           "make a new array instead")
    return out


@device_function
def _compute(op, a, b):
    if op == 0:
        return a + b
    if op == 1:
        return a - b
    if op == 2:
        return a * b
    if op == 3:
        return a / b
    if op == 4:
        return a ** b
    return a if a > b or a != a else b          # maximum; NaN stays NaN


@kernel
def _alike(op, a, b, out, count):
    own, other, first = cuda.local.array(ITEMS, a.dtype), cuda.local.array(ITEMS, a.dtype), first_item()
    load(a, first, count, own)
    load(b, first, count, other)
    for k in range(ITEMS):
        own[k] = _compute(op, own[k], other[k])
    store(own, first, count, out)


@kernel
def _number(op, a, number, number_first, out, count):
    own, first = cuda.local.array(ITEMS, a.dtype), first_item()
    load(a, first, count, own)
    for k in range(ITEMS):
        own[k] = _compute(op, number if number_first else own[k], own[k] if number_first else number)
    store(own, first, count, out)


@kernel
def _broadcast(op, a, b, a_steps, b_steps, sides, out, count):
    own, other, first = cuda.local.array(ITEMS, a.dtype), cuda.local.array(ITEMS, a.dtype), first_item()
    for k in range(ITEMS):
        rest, d = split(min(first + k * THREADS, count - 1), sides[3])
        rest, c = split(rest, sides[2])
        n, m = split(rest, sides[1])
        own[k] = a[at(n * a_steps[0] + m * a_steps[1] + c * a_steps[2] + d * a_steps[3])]
        other[k] = b[at(n * b_steps[0] + m * b_steps[1] + c * b_steps[2] + d * b_steps[3])]
    for k in range(ITEMS):
        own[k] = _compute(op, own[k], other[k])
    store(own, first, count, out)


@kernel
def _unary(op, x, out, count):
    own, first = cuda.local.array(ITEMS, x.dtype), first_item()
    load(x, first, count, own)
    for k in range(ITEMS):
        own[k] = _function(op, own[k])
    store(own, first, count, out)


@device_function
def _function(op, v):
    if op == 0:
        return -v
    if op == 1:
        return math.exp(v)
    if op == 2:
        return math.log(v)
    if op == 3:
        return math.sqrt(v)
    if op == 4:
        return v * v
    return math.fabs(v)
