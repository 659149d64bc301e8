"""Log-softmax and the cross-entropy of integer labels.

    logp[n, k] = x[n, k] - log Σ_j exp x[n, j]
    loss = mean over n of Σ_k target[n, k] · -logp[n, k],   target = (1 - ε)·onehot(label) + ε/K

x (N, K) logits, labels (N,) integers in 0..K-1, ε the label smoothing (Szegedy et al. 2016, section 7).
"""

import numpy as np

from kernels import device
from kernels.dispatch import Room, expect_rank, expect_shape
from kernels.errors import DTypeError, ShapeError

room = Room("loss", ["reference", "cpu"])


def log_softmax_forward(x):
    """logp (N, K), safe for large x: the row's maximum is taken out first."""
    expect_rank("log_softmax: x", x, "(N, K)")
    return room.call("log_softmax_forward", x)


def log_softmax_backward(gy, logp):
    """gx = gy - softmax · Σ_k gy"""
    expect_shape("log_softmax: gy", gy, logp.shape)
    return room.call("log_softmax_backward", gy, logp)


def cross_entropy_forward(x, labels, smoothing=0.0):
    """(loss, logp): the mean loss as an array of shape () and the log-probabilities. Raises ShapeError, DTypeError."""
    _check(x, labels)
    logp = room.call("log_softmax_forward", x)
    return room.call("cross_entropy_forward", logp, labels, float(smoothing)), logp


def cross_entropy_backward(gloss, logp, labels, smoothing=0.0):
    """gx (N, K) = gloss · (softmax - target) / N"""
    _check(logp, labels)
    gloss = gloss if device.is_on_device(gloss) else float(gloss)       # to look at one on a GPU is to wait for it
    return room.call("cross_entropy_backward", gloss, logp, labels, float(smoothing))


def _check(x, labels):
    expect_rank("cross_entropy: logits", x, "(N, K)")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: labels have dtype {labels.dtype}, not an integer one; pass class numbers")
    expect_shape("cross_entropy: labels", labels, x.shape[:1])
    if not labels.size:
        raise ShapeError("cross_entropy: the batch is empty; pass at least one image")
    bad = labels[(labels < 0) | (labels >= x.shape[1])]
    if bad.size:
        raise ShapeError(f"cross_entropy: label {bad[0]} is outside 0..{x.shape[1] - 1}; "
                         "the model has as many classes as logits, check num_classes")
