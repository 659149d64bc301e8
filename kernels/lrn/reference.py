"""Local response normalisation as its definition, channel by channel."""

import numpy as np


def forward(x, size, alpha, beta, k):
    """y = x · s^-beta"""
    return x * _scale(x, size, alpha, k) ** -beta


def _scale(x, size, alpha, k):
    """s = k + alpha/size · Σ x² over the window"""
    s = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - size // 2):c + (size - 1) // 2 + 1]
        s[:, c] = k + alpha / size * (window ** 2).sum(1)
    return s


def backward(gy, x, size, alpha, beta, k):
    """gx[c] = gy[c] · s[c]^-beta - 2·alpha·beta/size · x[c] · Σ over c' whose window has c of gy[c']·x[c']·s[c']^(-beta-1)"""
    s = _scale(x, size, alpha, k)
    share = gy * x * s ** (-beta - 1)
    gx = gy * s ** -beta
    for c in range(x.shape[1]):
        seen_by = share[:, max(0, c - (size - 1) // 2):c + size // 2 + 1]
        gx[:, c] -= 2 * alpha * beta / size * x[:, c] * seen_by.sum(1)
    return gx
