"""One step of stochastic gradient descent on one parameter, in place:

    g ← g + weight_decay · w;   v ← momentum · v + g;   w ← w - lr · v,  or with Nesterov  w ← w - lr · (g + momentum · v)

The only kernel that changes what it is given: w and v. Source: Sutskever et al. 2013, section 2; the form is PyTorch's.
"""

import numpy as np

from kernels.dispatch import Room, expect_shape

room = Room("sgd", ["reference", "cpu"])


def step(w, g, v, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    """Move w, and v where there is a momentum (v may be None where there is none). Shapes equal. Raises ShapeError, DTypeError."""
    expect_shape("sgd: g", g, w.shape)
    expect_shape("sgd: v", v, w.shape)
    inside = all(a is None or a.flags.c_contiguous for a in (w, v))
    if not inside:          # updated in place: no copy may take their place
        own = np.ascontiguousarray(w), None if v is None else np.ascontiguousarray(v)
        room.call("step", own[0], g, own[1], lr, momentum, weight_decay, bool(nesterov))
        w[...] = own[0]
        if v is not None:
            v[...] = own[1]
        return
    room.call("step", w, g, v, lr, momentum, weight_decay, bool(nesterov))
