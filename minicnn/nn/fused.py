"""Layers that are computed together, so that what lies between them is written to memory once instead of twice or three times.

Each function is the composition that its first line says. While anyone watches (a recording, a summary, the gradient checker)
it is computed layer by layer, so that every layer is seen; the numbers are the same.
"""

from minicnn import ops
from minicnn.autograd import observed


def conv_norm(conv, norm, x):
    """norm(conv(x)), conv a Conv2d, norm a BatchNorm2d: one convolution in a model that was fused for inference."""
    if observed() or not conv.folds(norm):
        return norm(conv(x))
    return ops.conv2d(x, *conv.folded(norm), *conv.geometry)


def conv_norm_relu(conv, norm, x):
    """relu(norm(conv(x))), conv a Conv2d, norm a BatchNorm2d."""
    if observed() or not conv.folds(norm):
        return norm_relu(norm, conv(x))
    return ops.conv2d_relu(x, *conv.folded(norm), *conv.geometry)


def norm_relu(norm, x, add=None):
    """relu(norm(x) + add), norm a BatchNorm2d; add may be left out."""
    if observed() or norm.weight is None:
        y = norm(x)
        return ops.relu(y if add is None else y + add)
    return norm.with_relu(x, add)


def conv_relu(conv, x):
    """relu(conv(x)), conv a Conv2d."""
    if observed():
        return ops.relu(conv(x))
    return ops.conv2d_relu(x, *conv.weights(), *conv.geometry)
