"""The update in one pass: w, g and v are read once and w and v written once."""

from kernels.device.launching import first_item, load, store
from kernels.device.shim import ITEMS, cuda, kernel, launch_items


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    numbers = tuple(w.dtype.type(number) for number in (lr, momentum, weight_decay))
    launch_items(_step, w.size, w, g, w if v is None else v, numbers, bool(momentum), bool(nesterov), w.size)


@kernel
def _step(w, g, v, numbers, moves, nesterov, count):
    own_w, own_g, own_v = cuda.local.array(ITEMS, w.dtype), cuda.local.array(ITEMS, w.dtype), cuda.local.array(ITEMS, w.dtype)
    first, (lr, momentum, weight_decay) = first_item(), numbers
    load(w, first, count, own_w)
    load(g, first, count, own_g)
    load(v, first, count, own_v)
    for k in range(ITEMS):
        slope = own_g[k] + weight_decay * own_w[k]
        speed = slope
        if moves:
            speed = momentum * own_v[k] + slope
        own_v[k] = speed
        if nesterov:
            speed = slope + momentum * speed
        own_w[k] -= lr * speed
    if moves:
        store(own_v, first, count, v)
    store(own_w, first, count, w)
