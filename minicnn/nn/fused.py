"""Layers that are computed together, so that what lies between them is written to memory once instead of twice or three times.

Each function is the composition that its first line says. While anyone watches (a recording, a summary, the gradient checker)
it is computed layer by layer, so that every layer is seen; the numbers are the same.
"""

from minicnn import ops
from minicnn.autograd import observed, recording


def conv_norm(conv, norm, x):
    """norm(conv(x)), conv a Conv2d, norm a BatchNorm2d: one convolution in a model that was fused for inference."""
    if observed() or not conv.folds(norm):
        return norm(conv(x))
    return ops.conv2d(x, *conv.folded(norm), *conv.geometry)


def conv_norm_relu(conv, norm, x, buffer=None):
    """relu(norm(conv(x))), conv a Conv2d, norm a BatchNorm2d; buffer: as in conv_relu, for a model that was fused."""
    if observed() or not conv.folds(norm):
        return norm_relu(norm, conv(x))
    return ops.conv2d_relu(x, *conv.folded(norm), *conv.geometry, buffer)


def norm_relu(norm, x, add=None, buffer=None):
    """relu(norm(x) + add), norm a BatchNorm2d; add may be left out. buffer: an ops.ChannelBuffer that x fills."""
    if observed() or norm.weight is None:
        y = norm(x)
        return ops.relu(y if add is None else y + add)
    return norm.with_relu(x, add, buffer)


def conv_into(layer, x, buffer):
    """layer(x), a Conv2d, written to the next channels of an ops.ChannelBuffer."""
    return layer(x) if observed() else ops.conv2d(x, *layer.weights(), *layer.geometry, buffer)


def conv_relu(conv, x, buffer=None):
    """relu(conv(x)), conv a Conv2d; buffer: an ops.ChannelBuffer whose next channels the result is written to."""
    if observed():
        return ops.relu(conv(x))
    return ops.conv2d_relu(x, *conv.weights(), *conv.geometry, buffer)


def expand_relu(convs, x):
    """relu(concat([conv(x) for conv in convs])), each a Conv2d with a bias, whose images are of one size."""
    if observed() or any(conv.bias is None for conv in convs):
        return ops.concat([ops.relu(conv(x)) for conv in convs])
    return ops.expand_relu(x, *[(*conv.weights(), *conv.geometry) for conv in convs])


def conv_relu_pool(conv, pool, x):
    """pool(relu(conv(x))), conv a Conv2d, pool a MaxPool2d.

    In training as relu(pool(conv(x))): ReLU and a maximum may change places, and their gradients too. ReLU's, which needs its
    output, is then one of the pooled image, so that the larger one is let go as soon as it is pooled.
    """
    if recording() and not observed():
        return ops.relu(pool(conv(x)))
    return pool(conv_relu(conv, x))
