"""Log-softmax and cross-entropy by NumPy."""

import numpy as np


def log_softmax_forward(x):
    """logp = x - max - log Σ exp(x - max)"""
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def log_softmax_backward(gy, logp):
    """gx = gy - softmax · Σ_k gy"""
    return gy - np.exp(logp) * gy.sum(1, keepdims=True)


def cross_entropy_forward(logp, labels, smoothing):
    """loss = mean of -Σ_k target · logp"""
    return np.asarray(-(_target(logp, labels, smoothing) * logp).sum() / len(logp), logp.dtype)


def cross_entropy_backward(gloss, logp, labels, smoothing):
    """gx = gloss · (softmax - target) / N"""
    return (gloss * (np.exp(logp) - _target(logp, labels, smoothing)) / len(logp)).astype(logp.dtype)


def _target(logp, labels, smoothing):
    N, K = logp.shape
    target = np.full((N, K), smoothing / K)
    target[np.arange(N), labels] += 1 - smoothing
    return target
