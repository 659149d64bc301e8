"""The update line by line, in NumPy. Numbers take the arrays' dtype, so that float32 stays float32."""


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    if weight_decay:
        g = g + weight_decay * w
    if momentum:
        v *= momentum
        v += g
        g = g + momentum * v if nesterov else v
    w -= lr * g
