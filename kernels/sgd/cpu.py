"""The update in one pass: w, g and v are read once and w and v written once, where NumPy's line by line passes seven times.

A network has hundreds of parameters, most of them small: `step_all` takes their addresses, cuts all of them into pieces and
shares the pieces out, so that threads are woken once.
"""

import numpy as np
from numba import carray, config, prange, types
from numba.extending import intrinsic

from kernels.compiling import njit

CHUNK = 1 << 14         # values to a task


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    step_all([w], [g], [v if momentum else w], lr, momentum, weight_decay, nesterov)


def step_all(weights, gradients, velocities, lr, momentum, weight_decay, nesterov):
    """See the room. Without a momentum velocities are anything of the same shapes, and are left alone."""
    places = np.array([[a.ctypes.data for a in arrays] for arrays in (weights, gradients, velocities)], np.int64)
    sizes = np.array([w.size for w in weights], np.int64)
    pieces = -(-sizes // CHUNK)
    owners = np.repeat(np.arange(len(sizes)), pieces)
    starts = (np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * CHUNK
    numbers = [weights[0].dtype.type(number) for number in (lr, momentum, weight_decay)]
    _step_pieces(places, sizes, owners, starts, *numbers, momentum != 0, nesterov, weights[0].reshape(-1))


@intrinsic
def _pointer(typing_context, address, like):
    """An address as a pointer to values of like's dtype."""
    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))
    return types.CPointer(like.dtype)(types.int64, like), codegen


@njit
def _piece(address, start, count, like):
    """`count` values from value `start` of the array at an address."""
    return carray(_pointer(address + start * like.itemsize, like), (count,))


@njit(cache=True, parallel=True)
def _step_pieces(places, sizes, owners, starts, lr, momentum, weight_decay, moving, nesterov, like):
    """The pieces of all parameters; each begins at value starts[t] of parameter owners[t]."""
    for task in prange(owners.size):
        owner, start = owners[task], starts[task]
        count = min(CHUNK, sizes[owner] - start)
        a = _piece(places[0, owner], start, count, like)
        b = _piece(places[1, owner], start, count, like)
        if moving:
            c = _piece(places[2, owner], start, count, like)
            for i in range(count):
                slope = b[i] + weight_decay * a[i]
                speed = momentum * c[i] + slope
                c[i] = speed
                a[i] -= lr * (slope + momentum * speed if nesterov else speed)
        else:
            for i in range(count):
                a[i] -= lr * (b[i] + weight_decay * a[i])


if config.DISABLE_JIT:
    from kernels.gemm.plain import view

    def _piece(address, start, count, like):
        return view(int(address + start * like.itemsize), int(count), like.dtype)
