"""Dropout and drop-path with counter-based random numbers.

    y[i] = x[i] · keep(key, i) / (1 - p),   keep(key, i) = [u(key, i) >= p]

u(key, i) in [0, 1) is a hash of the key and the element's number i, so that the mask is the same for any number of
threads and need not be kept for the backward pass: it is computed again. Drop-path drops whole images, i = n.
The hash is the i-th output of SplitMix64 seeded with the key (Steele, Lea and Flood 2014, figure 15).
Sources: Srivastava et al. 2014 (here "inverted": scaled in training, not at test time); drop-path Larsson et al. 2017.
"""

from kernels.dispatch import Room

room = Room("dropout", ["reference", "cpu"])


def forward(x, p, key):
    """y, each element of x dropped with probability p; key is an int of 64 bits."""
    return room.call("forward", x, float(p), int(key))


def backward(gy, p, key):
    """gx: the same mask and factor on gy."""
    return room.call("forward", gy, float(p), int(key))


def path_forward(x, p, key):
    """y, each x[n] dropped whole with probability p."""
    return room.call("path_forward", x, float(p), int(key))


def path_backward(gy, p, key):
    """gx: the same mask and factor on gy."""
    return room.call("path_forward", gy, float(p), int(key))
