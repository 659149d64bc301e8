"""Batch normalisation as in algorithm 1 of the paper, in NumPy."""

import numpy as np

AXES = (0, 2, 3)        # the batch and its pixels


def statistics(x):
    """mean and biased variance of each channel"""
    return x.mean(AXES), x.var(AXES)


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """y = weight · xhat + bias (+ add), (and no less than 0)"""
    y = _wide(weight) * _xhat(x, mean, var, eps) + _wide(bias)
    y = y if add is None else y + add
    return np.maximum(y, 0) if relu else y


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None, reuse=False):
    """gbias = Σ gy, gweight = Σ gy·xhat, and

        gx = weight / sqrt(var + eps) · (gy - mean(gy) - xhat · mean(gy · xhat))

    where the two means are there in training only: the shares that flow through mean and var. Behind a ReLU gy is first
    made 0 where y was not above 0.
    """
    xhat = _xhat(x, mean, var, eps)
    if relu_bias is not None:
        gy = np.where(_wide(weight) * xhat + _wide(relu_bias) <= 0, 0, gy).astype(gy.dtype)
    gbias, gweight = gy.sum(AXES), (gy * xhat).sum(AXES)
    through = gy
    if batch_statistics:
        through = gy - _wide(gy.mean(AXES)) - xhat * _wide((gy * xhat).mean(AXES))
    return _wide(weight / np.sqrt(var + eps)) * through, gweight, gbias


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics, reuse=False):
    """gadd = gy where y > 0, else 0; the rest is backward of that"""
    gadd = np.where(y <= 0, 0, gy).astype(gy.dtype)
    return *backward(gadd, x, mean, var, weight, eps, batch_statistics), gadd


def move_running(running_mean, running_var, mean, var, momentum, count):
    """running = (1 - momentum)·running + momentum·batch, in place"""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)


def _xhat(x, mean, var, eps):
    return (x - _wide(mean)) / np.sqrt(_wide(var) + eps)


def _wide(channel):
    """(C,) -> (C, 1, 1), to stand against (N, C, H, W)"""
    return channel[:, None, None]
