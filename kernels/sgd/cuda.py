"""The update in one pass, one thread an element: w, g and v are read once and w and v written once."""

from kernels.device.shim import cuda, kernel, launch_flat


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    numbers = tuple(w.dtype.type(number) for number in (lr, momentum, weight_decay))
    launch_flat(_step, w.size, w, g, w if v is None else v, numbers, bool(momentum), bool(nesterov), w.size)


@kernel
def _step(w, g, v, numbers, moves, nesterov, count):
    i = cuda.grid(1)
    if i < count:
        lr, momentum, weight_decay = numbers
        slope = g[i] + weight_decay * w[i]
        speed = slope
        if moves:
            speed = momentum * v[i] + slope
            v[i] = speed
        if nesterov:
            speed = slope + momentum * speed
        w[i] -= lr * speed
