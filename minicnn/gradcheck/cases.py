"""One case for each op that `minicnn gradcheck OP` knows: the call and inputs whose sides are all unequal.

The parameters make each term of the formula matter (LRN with alpha 1, batch norm with weights far from 1).
"""

import numpy as np

from minicnn import ops

LABELS = np.array([3, 0, 5, 5])

# name: (kernels' room or None, function of tensors, shapes of its inputs)
CASES = {
    "conv2d": ("conv2d", lambda x, weight, bias: ops.conv2d(x, weight, bias, stride=(2, 1), padding=((1, 0), (2, 1)),
                                                            dilation=(1, 2), groups=2),
               {"x": (2, 4, 7, 6), "weight": (6, 2, 3, 2), "bias": (6,)}),
    "max_pool2d": ("pool2d", lambda x: ops.max_pool2d(x, (3, 2), 2, (1, 0)), {"x": (2, 3, 7, 6)}),
    "avg_pool2d": ("pool2d", lambda x: ops.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True), {"x": (2, 3, 7, 6)}),
    "adaptive_avg_pool2d": ("pool2d", lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), {"x": (2, 3, 7, 5)}),
    "global_avg_pool2d": ("pool2d", ops.global_avg_pool2d, {"x": (2, 3, 5, 4)}),
    "batch_norm": ("batch_norm", lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True),
                   {"x": (4, 3, 2, 5), "weight": (3,), "bias": (3,)}),
    "local_response_norm": ("lrn", lambda x: ops.local_response_norm(x, 4, alpha=1.0, beta=0.6, k=1.0),
                            {"x": (2, 6, 3, 4)}),
    "linear": ("linear", ops.linear, {"x": (3, 5), "weight": (4, 5), "bias": (4,)}),
    "concat": ("concat", lambda a, b, c: ops.concat([a, b, c], 1),
               {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5), "c": (2, 2, 4, 5)}),
    "relu": ("activation", ops.relu, {"x": (3, 4, 5)}),
    "dropout": ("dropout", lambda x: ops.dropout(x, 0.4), {"x": (3, 4, 5)}),
    "drop_path": ("dropout", lambda x: ops.drop_path(x, 0.4), {"x": (6, 2, 3)}),
    "softmax": ("loss", lambda x: ops.softmax(x, 1), {"x": (3, 5, 2)}),
    "log_softmax": ("loss", lambda x: ops.log_softmax(x, 1), {"x": (3, 5, 2)}),
    "cross_entropy": ("loss", lambda logits: ops.cross_entropy(logits, LABELS, 0.1), {"logits": (4, 6)}),
    "arithmetic": (None, lambda a, b: (a + b) * (a - b) / (2 + b * b) - -a, {"a": (2, 3, 4), "b": (3, 1)}),
    "power": (None, ops.power, {"a": (2, 3), "b": (3,)}),
    "exp": (None, ops.exp, {"x": (2, 3)}),
    "log": (None, ops.log, {"x": (2, 3)}),
    "matmul": (None, ops.matmul, {"a": (2, 1, 3, 4), "b": (5, 4, 2)}),
    "reshape": (None, lambda x: ops.reshape(x, (4, -1)), {"x": (2, 3, 4)}),
    "flatten": (None, ops.flatten, {"x": (2, 3, 4)}),
    "transpose": (None, lambda x: ops.transpose(x, (2, 0, 1)), {"x": (2, 3, 4)}),
    "pad": (None, lambda x: ops.pad(x, ((1, 0), (2, 3))), {"x": (2, 3)}),
    "index": (None, lambda x: x[[0, 2, 0]], {"x": (3, 2)}),
    "sum": (None, lambda x: ops.sum(x, (0, -1)), {"x": (2, 3, 4)}),
    "mean": (None, lambda x: ops.mean(x, 1), {"x": (2, 3, 4)}),
}
POSITIVE = {"power", "log"}


def inputs(name, seed=0):
    """Random float64 inputs of a case by name; log and power get positive ones."""
    rng = np.random.default_rng(seed)
    draw = (lambda shape: rng.uniform(0.5, 2, shape)) if name in POSITIVE else rng.standard_normal
    return {key: np.asarray(draw(shape)) for key, shape in CASES[name][2].items()}
