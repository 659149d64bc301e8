"""One case for each op: what test_ops.py puts through every check.

A case has the op as users call it, inputs whose sides are all unequal (so that swapped axes fail), parameters that make
each term of the formula matter, an oracle in plain Python loops that shares no code with what it tests, and a hypothesis
strategy for other shapes. A new op is a new entry here; test_structure.py fails while it has none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from hypothesis import strategies as st

from kernels import device
from minicnn import ops


@dataclass
class Case:
    """run(*tensors) calls the op; shapes are of its inputs; op names the Op class, room the kernels' room (None: NumPy)."""

    name: str
    op: str
    run: Callable
    shapes: tuple
    oracle: Callable
    room: str | None = None
    examples: Callable | None = None        # a hypothesis strategy of (run, shapes)
    values: Callable = lambda rng, shape: rng.standard_normal(shape)


def distinct(rng, shape):
    """Values at least 0.01 apart and away from 0, in random order: no ties, no kinks near."""
    size = math.prod(shape)
    return (rng.permutation(size) - size / 2 + 0.5).reshape(shape) * (4 / max(size, 400)) + 0.0


def positive(rng, shape):
    return rng.uniform(0.5, 2, shape)


# Oracles: the definitions, one output value at a time.

def conv2d_oracle(x, w, b=None, stride=(1, 1), pad=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    N, _, H, W = x.shape
    K, Cg, R, S = w.shape
    OH = (H + sum(pad[0]) - dilation[0] * (R - 1) - 1) // stride[0] + 1
    OW = (W + sum(pad[1]) - dilation[1] * (S - 1) - 1) // stride[1] + 1
    y = np.zeros((N, K, OH, OW))
    for n, k, i, j, c, r, s in product(*map(range, (N, K, OH, OW, Cg, R, S))):
        h, v = i * stride[0] + r * dilation[0] - pad[0][0], j * stride[1] + s * dilation[1] - pad[1][0]
        if 0 <= h < H and 0 <= v < W:
            y[n, k, i, j] += x[n, k // (K // groups) * Cg + c, h, v] * w[k, c, r, s]
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def pool_oracle(x, kernel, stride, pad, out, reduce):
    """reduce(values inside the image, number of pixels inside the padded image)"""
    N, C, H, W = x.shape
    y = np.zeros((N, C, *out))
    for n, c, i, j in product(*map(range, y.shape)):
        inside, padded = [], 0
        for r, s in product(range(kernel[0]), range(kernel[1])):
            h, v = i * stride[0] + r - pad[0], j * stride[1] + s - pad[1]
            padded += h < H + pad[0] and v < W + pad[1]
            if 0 <= h < H and 0 <= v < W:
                inside.append(x[n, c, h, v])
        y[n, c, i, j] = reduce(inside, padded)
    return y


def adaptive_oracle(x, out):
    y = np.zeros((*x.shape[:2], *out))
    for n, c, i, j in product(*map(range, y.shape)):
        rows = [h for h in range(x.shape[2]) if h * out[0] < (i + 1) * x.shape[2] and (h + 1) * out[0] > i * x.shape[2]]
        columns = [v for v in range(x.shape[3]) if v * out[1] < (j + 1) * x.shape[3] and (v + 1) * out[1] > j * x.shape[3]]
        values = [x[n, c, h, v] for h, v in product(rows, columns)]
        y[n, c, i, j] = sum(values) / len(values)
    return y


def batch_norm_oracle(x, w, b, mean=None, var=None, eps=1e-5):
    y = np.zeros_like(x)
    for c in range(x.shape[1]):
        values = [float(v) for v in x[:, c].ravel()]
        m = math.fsum(values) / len(values) if mean is None else mean[c]
        v = math.fsum((value - m) ** 2 for value in values) / len(values) if var is None else var[c]
        y[:, c] = [[[(value - m) / math.sqrt(v + eps) * w[c] + b[c] for value in row] for row in image] for image in x[:, c]]
    return y


def lrn_oracle(x, size, alpha, beta, k):
    y = np.zeros_like(x)
    for n, c, h, w in product(*map(range, x.shape)):
        around = [x[n, other, h, w] ** 2 for other in range(x.shape[1]) if -(size // 2) <= other - c <= (size - 1) // 2]
        y[n, c, h, w] = x[n, c, h, w] / (k + alpha / size * math.fsum(around)) ** beta
    return y


def log_softmax_oracle(x):
    return np.array([[v - math.log(math.fsum(math.exp(u) for u in row)) for v in row] for row in x.tolist()])


def cross_entropy_oracle(x, labels, smoothing):
    logp = log_softmax_oracle(x)
    K = x.shape[1]
    return sum(-(1 - smoothing) * row[label] - smoothing / K * sum(row) for row, label in zip(logp, labels)) / len(x)


# Shapes for hypothesis: unequal N, C, H, W, kernel, stride, padding, dilation, groups.

@st.composite
def conv_examples(draw):
    N, G, Cg, Kg = (draw(st.integers(1, 3)) for _ in range(4))
    R, S, sh, sw, dh, dw = (draw(st.integers(1, 3)) for _ in range(6))
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    H = draw(st.integers(1, 6)) + max(0, dh * (R - 1) - sum(pads[0]))
    W = draw(st.integers(1, 6)) + max(0, dw * (S - 1) - sum(pads[1]))
    shapes = [(N, G * Cg, H, W), (G * Kg, Cg, R, S)] + ([(G * Kg,)] if draw(st.booleans()) else [])

    def run(x, w, b=None):
        return ops.conv2d(x, w, b, (sh, sw), pads, (dh, dw), G)
    return run, shapes


@st.composite
def pool_examples(draw, kind):
    N, C = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    R, S, sh, sw = (draw(st.integers(1, 3)) for _ in range(4))
    dh, dw = (draw(st.integers(1, 2)) if kind == "max" else 1 for _ in range(2))
    pads = (draw(st.integers(0, R // 2)), draw(st.integers(0, S // 2)))
    H, W = dh * (R - 1) + draw(st.integers(1, 6)), dw * (S - 1) + draw(st.integers(1, 6))
    ceil, include = draw(st.booleans()), draw(st.booleans())

    def run(x):
        if kind == "max":
            return ops.max_pool2d(x, (R, S), (sh, sw), pads, (dh, dw), ceil)
        return ops.avg_pool2d(x, (R, S), (sh, sw), pads, ceil, include)
    return run, [(N, C, H, W)]


def image_shapes(least=1):
    """Shapes (N, C, H, W) with at least `least` values to a channel."""
    return st.tuples(st.integers(max(1, least), 4), *[st.integers(1, 5)] * 3)


def plain(run, shapes):
    """A strategy of (run, [shape]) for ops without further arguments."""
    return shapes.map(lambda shape: (run, [shape]))


def _norm(x, w, b):
    return ops.batch_norm(x, None, None, w, b, training=True)


def _evaluate(x, w, b):
    mean, var = (device.to(np.linspace(*ends, x.shape[1]).astype(x.dtype), x.device) for ends in ((-1, 1), (0.5, 3)))
    return ops.batch_norm(x, mean, var, w, b)


def _norm_relu(x, w, b, add=None):
    return ops.batch_norm_relu(x, None, None, w, b, training=True, add=add)


def _evaluate_relu(x, w, b, add=None):
    mean, var = (device.to(np.linspace(*ends, x.shape[1]).astype(x.dtype), x.device) for ends in ((-1, 1), (0.5, 3)))
    return ops.batch_norm_relu(x, mean, var, w, b, add=add)


def _append(x, new, more):
    buffer = ops.ChannelBuffer(9)
    return ops.append(ops.append(x, new, buffer), more, buffer)


def _labels(n, k):
    return (np.arange(n) * 2 + 1) % k


def _loss(x):
    return ops.cross_entropy(x, _labels(*x.shape), 0.1)


CASES = [
    Case("conv2d", "Conv2d", lambda x, w, b: ops.conv2d(x, w, b, 1, 1), ((2, 3, 6, 5), (4, 3, 3, 2), (4,)),
         lambda x, w, b: conv2d_oracle(x, w, b, pad=((1, 1), (1, 1))), "conv2d", conv_examples()),
    Case("conv2d strided, dilated, grouped", "Conv2d",
         lambda x, w: ops.conv2d(x, w, None, (2, 1), ((0, 2), (1, 0)), (1, 2), 2), ((3, 4, 7, 8), (6, 2, 3, 2)),
         lambda x, w: conv2d_oracle(x, w, None, (2, 1), ((0, 2), (1, 0)), (1, 2), 2), "conv2d"),
    Case("conv2d 1x1", "Conv2d", lambda x, w, b: ops.conv2d(x, w, b), ((3, 5, 4, 2), (6, 5, 1, 1), (6,)),
         conv2d_oracle, "conv2d"),
    Case("conv2d 1x1 on images that fill tiles but the last", "Conv2d", ops.conv2d, ((2, 3, 7, 5), (5, 3, 1, 1)),
         conv2d_oracle, "conv2d"),
    Case("conv2d of many filters on small images", "Conv2d", lambda x, w: ops.conv2d(x, w, padding=1),
         ((3, 2, 5, 4), (70, 2, 3, 3)), lambda x, w: conv2d_oracle(x, w, pad=((1, 1), (1, 1))), "conv2d"),
    Case("conv2d same", "Conv2d", lambda x, w: ops.conv2d(x, w, padding="same"), ((1, 2, 5, 7), (3, 2, 4, 3)),
         lambda x, w: conv2d_oracle(x, w, pad=((1, 2), (1, 1))), "conv2d"),
    Case("conv2d_relu", "Conv2dReLU", lambda x, w, b: ops.conv2d_relu(x, w, b, 2, 1), ((2, 3, 6, 5), (4, 3, 3, 2), (4,)),
         lambda x, w, b: np.maximum(conv2d_oracle(x, w, b, (2, 2), ((1, 1), (1, 1))), 0), "conv2d"),
    Case("expand_relu", "ExpandReLU", lambda x, w, b, v, c: ops.expand_relu(x, (w, b), (v, c, 1, 1)),
         ((2, 3, 6, 5), (4, 3, 1, 1), (4,), (2, 3, 3, 3), (2,)),
         lambda x, w, b, v, c: np.maximum(np.concatenate(
             [conv2d_oracle(x, w, b), conv2d_oracle(x, v, c, pad=((1, 1), (1, 1)))], 1), 0), "conv2d"),
    Case("max_pool2d", "MaxPool2d", lambda x: ops.max_pool2d(x, (3, 2), 2, (1, 0), 1, True), ((2, 3, 6, 7),),
         lambda x: pool_oracle(x, (3, 2), (2, 2), (1, 0), (4, 4), lambda v, _: max(v)), "pool2d",
         pool_examples("max"), distinct),
    Case("avg_pool2d", "AvgPool2d", lambda x: ops.avg_pool2d(x, (3, 2), (2, 3), (1, 1), True), ((2, 3, 6, 7),),
         lambda x: pool_oracle(x, (3, 2), (2, 3), (1, 1), (4, 3), lambda v, padded: sum(v) / padded), "pool2d",
         pool_examples("avg")),
    Case("avg_pool2d without padding counted", "AvgPool2d",
         lambda x: ops.avg_pool2d(x, 3, 2, 1, False, False), ((2, 3, 6, 7),),
         lambda x: pool_oracle(x, (3, 3), (2, 2), (1, 1), (3, 4), lambda v, _: sum(v) / len(v)), "pool2d"),
    Case("adaptive_avg_pool2d", "AdaptiveAvgPool2d", lambda x: ops.adaptive_avg_pool2d(x, (3, 4)), ((2, 3, 7, 5),),
         lambda x: adaptive_oracle(x, (3, 4)), "pool2d",
         st.tuples(image_shapes(), st.integers(1, 6), st.integers(1, 6)).map(
             lambda t: (lambda x: ops.adaptive_avg_pool2d(x, t[1:]), [t[0]]))),
    Case("global_avg_pool2d", "GlobalAvgPool2d", ops.global_avg_pool2d, ((2, 3, 4, 5),),
         lambda x: adaptive_oracle(x, (1, 1))[:, :, 0, 0], "pool2d", plain(ops.global_avg_pool2d, image_shapes())),
    Case("batch_norm in training", "BatchNorm", _norm, ((3, 2, 4, 5), (2,), (2,)), batch_norm_oracle, "batch_norm",
         image_shapes(2).map(lambda s: (_norm, [s, (s[1],), (s[1],)]))),
    Case("batch_norm in evaluation", "BatchNorm", _evaluate, ((3, 2, 4, 5), (2,), (2,)),
         lambda x, w, b: batch_norm_oracle(x, w, b, (-1, 1), (0.5, 3)), "batch_norm",
         image_shapes().map(lambda s: (_evaluate, [s, (s[1],), (s[1],)]))),
    Case("batch_norm_relu in training", "BatchNormReLU", _norm_relu, ((3, 2, 4, 5), (2,), (2,)),
         lambda x, w, b: np.maximum(batch_norm_oracle(x, w, b), 0), "batch_norm",
         image_shapes(2).map(lambda s: (_norm_relu, [s, (s[1],), (s[1],)]))),
    Case("batch_norm_relu with a shortcut", "BatchNormReLU", _norm_relu, ((3, 2, 4, 5), (2,), (2,), (3, 2, 4, 5)),
         lambda x, w, b, add: np.maximum(batch_norm_oracle(x, w, b) + add, 0), "batch_norm",
         image_shapes(2).map(lambda s: (_norm_relu, [s, (s[1],), (s[1],), s]))),
    Case("batch_norm_relu in evaluation", "BatchNormReLU", _evaluate_relu, ((3, 2, 4, 5), (2,), (2,), (3, 2, 4, 5)),
         lambda x, w, b, add: np.maximum(batch_norm_oracle(x, w, b, (-1, 1), (0.5, 3)) + add, 0), "batch_norm"),
    Case("local_response_norm", "LocalResponseNorm", lambda x: ops.local_response_norm(x, 5, 1.0, 0.75, 1.0),
         ((2, 7, 3, 4),), lambda x: lrn_oracle(x, 5, 1.0, 0.75, 1.0), "lrn",
         st.tuples(image_shapes(), st.integers(1, 6)).map(
             lambda t: (lambda x: ops.local_response_norm(x, t[1], 2.0, 0.6, 1.5), [t[0]]))),
    Case("local_response_norm of even size", "LocalResponseNorm",
         lambda x: ops.local_response_norm(x, 4, 2.0, 0.5, 0.5), ((2, 6, 3, 4),),
         lambda x: lrn_oracle(x, 4, 2.0, 0.5, 0.5), "lrn"),
    Case("linear", "Linear", ops.linear, ((3, 5), (4, 5), (4,)),
         lambda x, w, b: np.array([[math.fsum(x[n] * w[k]) + b[k] for k in range(4)] for n in range(3)]), "linear",
         st.tuples(*[st.integers(1, 9)] * 3).map(lambda t: (ops.linear, [(t[0], t[1]), (t[2], t[1]), (t[2],)]))),
    Case("concat", "Concat", lambda *xs: ops.concat(xs), ((2, 3, 4, 5), (2, 1, 4, 5), (2, 4, 4, 5)),
         lambda *xs: np.array([[plane for x in xs for plane in x[n]] for n in range(2)]), "concat",
         st.tuples(st.integers(0, 2), st.lists(st.integers(1, 4), min_size=1, max_size=4)).map(
             lambda t: (lambda *xs: ops.concat(xs, t[0]), [(2, 3, 2)[:t[0]] + (c,) + (2, 3, 2)[t[0] + 1:] for c in t[1]]))),
    Case("append", "Append", _append, ((2, 3, 4, 5), (2, 2, 4, 5), (2, 4, 4, 5)),
         lambda *xs: np.array([[plane for x in xs for plane in x[n]] for n in range(2)]), "concat"),
    Case("relu", "ReLU", ops.relu, ((2, 3, 4, 5),),
         lambda x: np.array([v if v > 0 else 0.0 for v in x.ravel()]).reshape(x.shape), "activation",
         plain(ops.relu, image_shapes()), distinct),
    Case("dropout", "Dropout", lambda x: ops.dropout(x, 0.4), ((2, 3, 4, 5),), None, "dropout",
         plain(lambda x: ops.dropout(x, 0.4), image_shapes())),
    Case("drop_path", "DropPath", lambda x: ops.drop_path(x, 0.4), ((5, 2, 3, 4),), None, "dropout",
         plain(lambda x: ops.drop_path(x, 0.4), image_shapes())),
    Case("log_softmax", "LogSoftmax", ops.log_softmax, ((3, 5),), log_softmax_oracle, "loss",
         plain(ops.log_softmax, st.tuples(st.integers(1, 5), st.integers(1, 7)))),
    Case("log_softmax over channels", "LogSoftmax", lambda x: ops.log_softmax(x, 1), ((2, 4, 3, 2),),
         lambda x: x - np.log(sum(np.exp(x[:, c:c + 1]) for c in range(4))), "loss"),
    Case("softmax", "LogSoftmax", ops.softmax, ((3, 5),), lambda x: np.exp(log_softmax_oracle(x)), "loss"),
    Case("cross_entropy", "CrossEntropy", _loss, ((4, 6),), lambda x: cross_entropy_oracle(x, _labels(4, 6), 0.1), "loss",
         plain(_loss, st.tuples(st.integers(1, 5), st.integers(1, 7)))),
    Case("recompute", "Recompute", lambda a, b: ops.recompute(lambda a, b, again: ops.exp(a) * b, a, b), ((2, 3), (3,)),
         lambda a, b: math.e ** a * b),
    Case("add", "Add", ops.add, ((2, 3, 4), (3, 1)), lambda a, b: a - -b),
    Case("subtract", "Subtract", ops.subtract, ((4,), (2, 3, 4)), lambda a, b: a + -b),
    Case("multiply", "Multiply", ops.multiply, ((2, 1, 4), (2, 3, 1)), lambda a, b: a / (1 / b)),
    Case("divide", "Divide", ops.divide, ((2, 3, 4), (3, 1)), lambda a, b: a * b ** -1.0, values=positive),
    Case("power", "Power", ops.power, ((2, 3), (3,)), lambda a, b: np.exp(b * np.log(a)), values=positive),
    Case("negate", "Negate", ops.negate, ((2, 3),), lambda x: 0 - x),
    Case("exp", "Exp", ops.exp, ((2, 3),), lambda x: math.e ** x),
    Case("log", "Log", ops.log, ((2, 3),), lambda x: np.log2(x) / math.log2(math.e), values=positive),
    Case("matmul", "MatMul", ops.matmul, ((2, 1, 3, 4), (5, 4, 2)),
         lambda a, b: np.einsum("abnk,bkm->abnm", a.repeat(5, 1), b)),
    Case("reshape", "Reshape", lambda x: ops.reshape(x, (4, -1)), ((2, 3, 4),), lambda x: np.array(x.ravel()).reshape(4, 6)),
    Case("flatten", "Reshape", ops.flatten, ((2, 3, 4),),
         lambda x: np.array([[v for row in image for v in row] for image in x])),
    Case("transpose", "Transpose", lambda x: ops.transpose(x, (2, 0, 1)), ((2, 3, 4),), lambda x: np.einsum("abc->cab", x)),
    Case("pad", "Pad", lambda x: ops.pad(x, ((1, 0), (2, 3))), ((2, 3),),
         lambda x: np.array([[0.0] * 8] + [[0.0, 0, *row, 0, 0, 0] for row in x])),
    Case("index by slices", "Index", lambda x: x[1, ..., ::2], ((3, 2, 5),), lambda x: np.array([row[::2] for row in x[1]])),
    Case("index by numbers, some twice", "Index", lambda x: x[[0, 2, 0]], ((3, 2),), lambda x: np.stack([x[0], x[2], x[0]])),
    Case("to", "To", lambda x: ops.to(x, "cpu"), ((2, 3),), lambda x: x * 1.0),
    Case("sum", "Sum", lambda x: ops.sum(x, (0, -1), keepdims=True), ((2, 3, 4),),
         lambda x: np.einsum("abc->b", x).reshape(1, 3, 1)),
    Case("mean", "Mean", lambda x: ops.mean(x, 1), ((2, 3, 4),), lambda x: np.einsum("abc->ac", x) / 3),
]
