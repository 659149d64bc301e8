"""Batch normalisation as in algorithm 1 of the paper, in NumPy."""

import numpy as np

AXES = (0, 2, 3)        # the batch and its pixels


def statistics(x):
    """mean and biased variance of each channel"""
    return x.mean(AXES), x.var(AXES)


def normalize(x, mean, var, weight, bias, eps):
    """y = weight · xhat + bias"""
    return _wide(weight) * _xhat(x, mean, var, eps) + _wide(bias)


def backward(gy, x, mean, var, weight, eps, batch_statistics):
    """gbias = Σ gy, gweight = Σ gy·xhat, and

        gx = weight / sqrt(var + eps) · (gy - mean(gy) - xhat · mean(gy · xhat))

    where the two means are there in training only: the shares that flow through mean and var.
    """
    xhat = _xhat(x, mean, var, eps)
    gbias, gweight = gy.sum(AXES), (gy * xhat).sum(AXES)
    through = gy
    if batch_statistics:
        through = gy - _wide(gy.mean(AXES)) - xhat * _wide((gy * xhat).mean(AXES))
    return _wide(weight / np.sqrt(var + eps)) * through, gweight, gbias


def _xhat(x, mean, var, eps):
    return (x - _wide(mean)) / np.sqrt(_wide(var) + eps)


def _wide(channel):
    """(C,) -> (C, 1, 1), to stand against (N, C, H, W)"""
    return channel[:, None, None]
