"""One step of stochastic gradient descent on one parameter, in place:

    g ← g + weight_decay · w;   v ← momentum · v + g;   w ← w - lr · v,  or with Nesterov  w ← w - lr · (g + momentum · v)

The only kernel that changes what it is given: w and v. Source: Sutskever et al. 2013, section 2; the form is PyTorch's.
"""

import numpy as np

from kernels import device, memory, threads
from kernels.dispatch import FEW, Room, expect_shape

room = Room("sgd", ["reference", "cpu"])


def step(w, g, v, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    """Move w, and v where there is a momentum (v may be None without). Equal shapes. Raises ShapeError, DTypeError."""
    expect_shape("sgd: g", g, w.shape)
    expect_shape("sgd: v", v, w.shape)
    if any(a is not None and not a.flags.c_contiguous for a in (w, g, v)):
        room.rung("reference").step(w, g, v, lr, momentum, weight_decay, bool(nesterov))
        return
    room.call_as_is("step", w, g, v, lr, momentum, weight_decay, bool(nesterov))


def step_all(weights, gradients, velocities, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    """`step` on each parameter: lists of arrays, velocities None without a momentum.

    Arrays in C order and of one dtype are moved in one parallel pass, however many they are. Raises ShapeError, DTypeError.
    """
    triples = list(zip(weights, gradients, velocities if momentum else weights, strict=True))
    if _together(triples, device.DeviceArray):
        device.call_room("sgd", "step_all", (weights, gradients, velocities, lr, momentum, weight_decay, bool(nesterov)))
        return
    if room.pinned() not in (None, "cpu") or not _together(triples, np.ndarray):
        for w, g, v in triples:
            step(w, g, v if momentum else None, lr, momentum, weight_decay, nesterov)
        return
    memory.keep_pages()
    arguments = *zip(*triples), lr, momentum, weight_decay, bool(nesterov)
    threads.call(room.rung("cpu").step_all, *arguments, alone=sum(w.size for w in weights) < FEW)


def _together(triples, kind):
    """Whether one pass can move them all: arrays of a kind, in C order, one dtype, the shapes of each equal, and none twice."""
    dtype = triples[0][0].dtype if triples else None
    return (dtype in (np.float32, np.float64) and len({id(w) for w, _, _ in triples}) == len(triples)
            and all(w.shape == g.shape == v.shape for w, g, v in triples)
            and all(type(a) is kind and a.dtype == dtype and a.flags.c_contiguous for triple in triples for a in triple))
