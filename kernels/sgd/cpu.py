"""The update in one pass: w, g and v are read once and w and v written once, where NumPy's line by line passes seven times."""

from numba import njit, prange

CHUNK = 1 << 14         # values to a task


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    numbers = [w.dtype.type(number) for number in (lr, momentum, weight_decay)]
    if momentum:
        _with_momentum(w.reshape(-1), g.reshape(-1), v.reshape(-1), *numbers, nesterov)
    else:
        _plain(w.reshape(-1), g.reshape(-1), numbers[0], numbers[2])


@njit(cache=True, parallel=True)
def _with_momentum(w, g, v, lr, momentum, weight_decay, nesterov):
    for task in prange((w.size + CHUNK - 1) // CHUNK):
        some = slice(task * CHUNK, (task + 1) * CHUNK)
        a, b, c = w[some], g[some], v[some]
        for i in range(a.size):
            slope = b[i] + weight_decay * a[i]
            speed = momentum * c[i] + slope
            c[i] = speed
            a[i] -= lr * (slope + momentum * speed if nesterov else speed)


@njit(cache=True, parallel=True)
def _plain(w, g, lr, weight_decay):
    for task in prange((w.size + CHUNK - 1) // CHUNK):
        some = slice(task * CHUNK, (task + 1) * CHUNK)
        a, b = w[some], g[some]
        for i in range(a.size):
            a[i] -= lr * (b[i] + weight_decay * a[i])
