"""One step of stochastic gradient descent on one parameter, in place:

    g ← g + weight_decay · w;   v ← momentum · v + g;   w ← w - lr · v,  or with Nesterov  w ← w - lr · (g + momentum · v)

The only kernel that changes what it is given: w and v. Source: Sutskever et al. 2013, section 2; the form is PyTorch's.
"""

from kernels.dispatch import Room, expect_shape

room = Room("sgd", ["reference", "cpu"])


def step(w, g, v, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    """Move w, and v where there is a momentum (v may be None without). Equal shapes. Raises ShapeError, DTypeError."""
    expect_shape("sgd: g", g, w.shape)
    expect_shape("sgd: v", v, w.shape)
    if any(a is not None and not a.flags.c_contiguous for a in (w, g, v)):
        room.rung("reference").step(w, g, v, lr, momentum, weight_decay, bool(nesterov))
        return
    room.call_as_is("step", w, g, v, lr, momentum, weight_decay, bool(nesterov))
