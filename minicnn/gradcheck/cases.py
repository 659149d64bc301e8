"""One case for each op that `minicnn gradcheck OP` knows: a call with inputs whose sides are all unequal, and random others.

The parameters make each term of the formula matter (LRN with alpha 1, batch norm with weights far from 1).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minicnn import ops


class Case(NamedTuple):
    """room: the kernels' room, None for NumPy; function of tensors; shapes of its inputs by name; draw(rng) -> (function,
    shapes) of a random case, None where only the default one is of interest; positive: inputs above 0.
    """

    room: str | None
    function: Callable
    shapes: dict
    draw: Callable | None = None
    positive: bool = False


def _sides(rng, count, most=5):
    return tuple(int(k) for k in rng.integers(1, most + 1, count))


def _draw_conv2d(rng):
    groups, cin, cout, n, r, s, dilation, stride = _sides(rng, 8, 3)
    padding = ((int(rng.integers(3)), int(rng.integers(3))), (int(rng.integers(3)), int(rng.integers(3))))
    high, wide = (int(rng.integers(1, 5)) + dilation * (k - 1) for k in (r, s))
    shapes = {"x": (n, groups * cin, high, wide), "weight": (groups * cout, cin, r, s), "bias": (groups * cout,)}
    return lambda x, weight, bias: ops.conv2d(x, weight, bias, stride, padding, dilation, groups), shapes


def _draw_pool(pool, **options):
    def draw(rng):
        n, c, high, wide = _sides(rng, 4, 6)
        kernel = tuple(int(rng.integers(1, min(side, 3) + 1)) for side in (high, wide))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        stride, chosen = int(rng.integers(1, 4)), {key: bool(rng.integers(2)) for key in options}
        return lambda x: pool(x, kernel, stride, padding, **chosen), {"x": (n, c, high, wide)}
    return draw


def _draw_adaptive(rng):
    n, c, high, wide = _sides(rng, 4, 7)
    out = int(rng.integers(1, high + 1)), int(rng.integers(1, wide + 1))
    return lambda x: ops.adaptive_avg_pool2d(x, out), {"x": (n, c, high, wide)}


def _draw_lrn(rng):
    n, c, high, wide, size = _sides(rng, 5, 6)
    alpha, beta, k = rng.uniform(0.1, 2, 3)
    return lambda x: ops.local_response_norm(x, size, alpha, beta, k), {"x": (n, c, high, wide)}


def _draw_batch_norm(rng):
    n, c, high, wide = _sides(rng, 4, 4)
    shapes = {"x": (n + 2, c, high, wide), "weight": (c,), "bias": (c,)}
    return lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True), shapes


def _draw_norm_relu(rng):
    n, c, high, wide = _sides(rng, 4, 4)
    x = (n + 2, c, high, wide)
    return _norm_relu, {"x": x, "weight": (c,), "bias": (c,), "add": x}


def _norm_relu(x, weight, bias, add):
    return ops.batch_norm_relu(x, None, None, weight, bias, training=True, add=add)


def _draw_linear(rng):
    n, c, k = _sides(rng, 3, 7)
    return ops.linear, {"x": (n, c), "weight": (k, c), "bias": (k,)}


def _draw_concat(rng):
    shape, axis = list(_sides(rng, 4, 4)), int(rng.integers(4))
    shapes = {name: tuple(int(rng.integers(1, 4)) if k == axis else side for k, side in enumerate(shape)) for name in "abc"}
    return lambda a, b, c: ops.concat([a, b, c], axis), shapes


def _draw_labels(rng):
    n, k = _sides(rng, 2, 7)
    labels, smoothing = rng.integers(0, k, n), float(rng.uniform(0, 0.5))
    return lambda logits: ops.cross_entropy(logits, labels, smoothing), {"logits": (n, k)}


def _draw_any(function):
    """Any shape of three axes."""
    return lambda rng: (function, {"x": _sides(rng, 3)})


LABELS = np.array([3, 0, 5, 5])
BROADCAST = {"a": (2, 3, 4), "b": (3, 1)}

CASES = {
    "conv2d": Case("conv2d", lambda x, weight, bias: ops.conv2d(x, weight, bias, stride=(2, 1), padding=((1, 0), (2, 1)),
                                                                dilation=(1, 2), groups=2),
                   {"x": (2, 4, 7, 6), "weight": (6, 2, 3, 2), "bias": (6,)}, _draw_conv2d),
    "conv2d_relu": Case("conv2d", lambda x, weight, bias: ops.conv2d_relu(x, weight, bias, stride=(2, 1), padding=1),
                        {"x": (2, 3, 7, 6), "weight": (4, 3, 3, 2), "bias": (4,)}),
    "expand_relu": Case("conv2d", lambda x, weight_1, bias_1, weight_3, bias_3: ops.expand_relu(
        x, (weight_1, bias_1), (weight_3, bias_3, 1, 1)),
        {"x": (2, 3, 5, 4), "weight_1": (4, 3, 1, 1), "bias_1": (4,), "weight_3": (2, 3, 3, 3), "bias_3": (2,)}),
    "max_pool2d": Case("pool2d", lambda x: ops.max_pool2d(x, (3, 2), 2, (1, 0)), {"x": (2, 3, 7, 6)},
                       _draw_pool(ops.max_pool2d, ceil_mode=True)),
    "avg_pool2d": Case("pool2d", lambda x: ops.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True), {"x": (2, 3, 7, 6)},
                       _draw_pool(ops.avg_pool2d, ceil_mode=True, count_include_pad=True)),
    "adaptive_avg_pool2d": Case("pool2d", lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), {"x": (2, 3, 7, 5)}, _draw_adaptive),
    "global_avg_pool2d": Case("pool2d", ops.global_avg_pool2d, {"x": (2, 3, 5, 4)},
                              lambda rng: (ops.global_avg_pool2d, {"x": _sides(rng, 4)})),
    "batch_norm": Case("batch_norm", lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True),
                       {"x": (4, 3, 2, 5), "weight": (3,), "bias": (3,)}, _draw_batch_norm),
    "batch_norm_relu": Case("batch_norm", _norm_relu,
                            {"x": (4, 3, 2, 5), "weight": (3,), "bias": (3,), "add": (4, 3, 2, 5)}, _draw_norm_relu),
    "local_response_norm": Case("lrn", lambda x: ops.local_response_norm(x, 4, alpha=1.0, beta=0.6, k=1.0),
                                {"x": (2, 6, 3, 4)}, _draw_lrn),
    "linear": Case("linear", ops.linear, {"x": (3, 5), "weight": (4, 5), "bias": (4,)}, _draw_linear),
    "concat": Case("concat", lambda a, b, c: ops.concat([a, b, c], 1),
                   {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5), "c": (2, 2, 4, 5)}, _draw_concat),
    "append": Case("concat", lambda x, new: ops.append(x, new, ops.ChannelBuffer(8)), {"x": (2, 3, 4, 5), "new": (2, 2, 4, 5)}),
    "relu": Case("activation", ops.relu, {"x": (3, 4, 5)}, _draw_any(ops.relu)),
    "dropout": Case("dropout", lambda x: ops.dropout(x, 0.4), {"x": (3, 4, 5)}, _draw_any(lambda x: ops.dropout(x, 0.3))),
    "drop_path": Case("dropout", lambda x: ops.drop_path(x, 0.4), {"x": (6, 2, 3)}, _draw_any(lambda x: ops.drop_path(x, 0.3))),
    "softmax": Case("loss", lambda x: ops.softmax(x, 1), {"x": (3, 5, 2)}, _draw_any(lambda x: ops.softmax(x, 1))),
    "log_softmax": Case("loss", lambda x: ops.log_softmax(x, 1), {"x": (3, 5, 2)}, _draw_any(lambda x: ops.log_softmax(x, 0))),
    "cross_entropy": Case("loss", lambda logits: ops.cross_entropy(logits, LABELS, 0.1), {"logits": (4, 6)}, _draw_labels),
    "arithmetic": Case(None, lambda a, b: (a + b) * (a - b) / (2 + b * b) - -a, BROADCAST),
    "add": Case(None, ops.add, BROADCAST),
    "subtract": Case(None, ops.subtract, BROADCAST),
    "multiply": Case(None, ops.multiply, BROADCAST),
    "divide": Case(None, ops.divide, BROADCAST, positive=True),
    "negate": Case(None, ops.negate, {"a": (2, 3)}),
    "power": Case(None, ops.power, {"a": (2, 3), "b": (3,)}, positive=True),
    "exp": Case(None, ops.exp, {"x": (2, 3)}, _draw_any(ops.exp)),
    "log": Case(None, ops.log, {"x": (2, 3)}, _draw_any(ops.log), positive=True),
    "matmul": Case(None, ops.matmul, {"a": (2, 1, 3, 4), "b": (5, 4, 2)}),
    "reshape": Case(None, lambda x: ops.reshape(x, (4, -1)), {"x": (2, 3, 4)}),
    "flatten": Case(None, ops.flatten, {"x": (2, 3, 4)}, _draw_any(ops.flatten)),
    "transpose": Case(None, lambda x: ops.transpose(x, (2, 0, 1)), {"x": (2, 3, 4)}),
    "pad": Case(None, lambda x: ops.pad(x, ((1, 0), (2, 3))), {"x": (2, 3)}),
    "recompute": Case(None, lambda x: ops.recompute(lambda x, again: ops.exp(x) * x, x), {"x": (2, 3)}),
    "index": Case(None, lambda x: x[[0, 2, 0]], {"x": (3, 2)}),
    "sum": Case(None, lambda x: ops.sum(x, (0, -1)), {"x": (2, 3, 4)}, _draw_any(lambda x: ops.sum(x, (0, -1)))),
    "mean": Case(None, lambda x: ops.mean(x, 1), {"x": (2, 3, 4)}, _draw_any(lambda x: ops.mean(x, 1))),
}


def inputs(name, seed=0):
    """Random float64 inputs of an op's default case by name."""
    return _inputs(CASES[name], CASES[name].shapes, np.random.default_rng(seed))


def example(name, seed):
    """(function, inputs by name) of a random case: other shapes and parameters, in one of three with many equal values."""
    case, rng = CASES[name], np.random.default_rng(seed)
    function, shapes = (case.function, case.shapes) if case.draw is None else case.draw(rng)
    arrays = _inputs(case, shapes, rng)
    if rng.random() < 1 / 3:
        arrays = {key: np.round(2 * a) / 2 + (1 if case.positive else 0) for key, a in arrays.items()}
    return function, arrays


def _inputs(case, shapes, rng):
    draw = (lambda shape: rng.uniform(0.5, 2, shape)) if case.positive else rng.standard_normal
    return {key: np.asarray(draw(shape)) for key, shape in shapes.items()}
