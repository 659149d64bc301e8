"""What `bench` runs for each operation: arrays of a shape from real networks, the calls, and the work they do."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

import kernels
from kernels import layout
from kernels.geometry import Window2d
from minicnn.errors import ArgumentError, ShapeError

SEED = 0

DEFAULTS = {
    "conv2d": {"shape": (16, 64, 32, 32), "out": 64, "kernel": 3, "stride": 1, "padding": 1, "groups": 1},
    "linear": {"shape": (128, 1024), "out": 1000},
    "pool2d": {"shape": (16, 64, 55, 55), "kernel": 3, "stride": 2, "padding": 0},
    "batch_norm": {"shape": (32, 64, 32, 32)},
    "lrn": {"shape": (8, 96, 55, 55), "size": 5},
    "concat": {"shape": (16, 64, 32, 32)},
    "activation": {"shape": (32, 64, 32, 32)},
    "dropout": {"shape": (128, 4096)},
    "loss": {"shape": (256, 1000)},
}


@dataclass(frozen=True)
class Case:
    """One thing to time. forward(*images) and backward(*images) call the room and return an array or several.

    images: the arrays (N, C, H, W) that the network's layers hand on, in C order; weights and the like are not among them.
    work: {"forward": …, "backward": …} in operations for unit "GFLOP/s", in bytes touched once for unit "GB/s".
    """

    op: str
    title: str
    detail: str
    images: tuple
    forward: object
    backward: object
    work: dict
    unit: str

    def call(self, direction, rung):
        """A partial() that runs one direction on images in the order in memory that `rung` works in, as in a network,
        where the layer before leaves them so: channels-last for a rung with ANY_ORDER, C order for the others."""
        images = self.images
        if getattr(kernels.ROOMS[self.op].rung(rung), "ANY_ORDER", False):
            images = [layout.channels_last(image) for image in images]
        return partial(getattr(self, direction), *images)


def options_of(op, options):
    """The default options of an operation with the given ones put in; None counts as not given.

    Raises ArgumentError for an operation or an option that is not there, ShapeError for a shape of the wrong rank.
    """
    if op not in DEFAULTS:
        raise ArgumentError(f"bench: no operation {op!r}; choose from {', '.join(DEFAULTS)}")
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(set(given) - set(DEFAULTS[op]))
    if unknown:
        raise ArgumentError(f"bench {op}: takes no {unknown[0]}; it takes {', '.join(DEFAULTS[op])}")
    merged = {**DEFAULTS[op], **given}
    rank = len(DEFAULTS[op]["shape"])
    if len(merged["shape"]) != rank or min(merged["shape"]) < 1:
        raise ShapeError(f"bench {op}: shape {tuple(merged['shape'])} is not {rank} positive numbers; "
                         f"for example {','.join(str(side) for side in DEFAULTS[op]['shape'])}")
    return merged


def cases(op, dtype="float32", **options):
    """The list of Cases of an operation, with random arrays: the same numbers, rounded to float32, in either dtype."""
    options = options_of(op, options)
    shape = tuple(options.pop("shape"))
    rng = np.random.default_rng(SEED)

    def draw(*sides):
        return rng.standard_normal(sides, dtype=np.float32).astype(dtype)
    with kernels.using(**{op: "reference"}):        # what backward needs; the rungs themselves stay untouched
        return _BUILDERS[op](draw, shape, **options)


def _conv2d(draw, shape, out, kernel, stride, padding, groups):
    window = Window2d.of(kernel, stride, padding)
    x, weight, bias = draw(*shape), draw(out, shape[1] // groups, *window[:2]), draw(out)
    y_shape = (shape[0], out, *window.output_size(*shape[2:]))
    gy = draw(*y_shape)
    flops = 2 * math.prod(y_shape) * math.prod(weight.shape[1:])
    detail = f"x {shape}, weight {weight.shape}, stride {stride}, padding {padding}, groups {groups}"
    return [Case("conv2d", "convolution", detail, (x, gy),
                 lambda x, gy: kernels.conv2d.forward(x, weight, bias, window, groups),
                 lambda x, gy: kernels.conv2d.backward(gy, x, weight, window, groups),
                 {"forward": flops, "backward": 2 * flops}, "GFLOP/s")]


def _linear(draw, shape, out):
    x, weight, bias, gy = draw(*shape), draw(out, shape[1]), draw(out), draw(shape[0], out)
    flops = 2 * shape[0] * shape[1] * out
    return [Case("linear", "fully connected", f"x {shape}, weight {weight.shape}", (),
                 lambda: kernels.linear.forward(x, weight, bias),
                 lambda: kernels.linear.backward(gy, x, weight),
                 {"forward": flops, "backward": 2 * flops}, "GFLOP/s")]


def _pool2d(draw, shape, kernel, stride, padding):
    window = Window2d.of(kernel, stride, padding)
    x = draw(*shape)
    y, places = kernels.pool2d.max_forward(x, window)
    gy = draw(*y.shape)
    detail = f"x {shape}, window {kernel}, stride {stride}, padding {padding}"
    bytes_ = x.nbytes + y.nbytes
    return [Case("pool2d", "max pooling", detail, (x, gy, places),
                 lambda x, gy, places: kernels.pool2d.max_forward(x, window),
                 lambda x, gy, places: kernels.pool2d.max_backward(gy, places, window, *shape[2:]),
                 {"forward": bytes_ + places.nbytes, "backward": bytes_ + places.nbytes}, "GB/s"),
            Case("pool2d", "average pooling", detail, (x, gy),
                 lambda x, gy: kernels.pool2d.avg_forward(x, window),
                 lambda x, gy: kernels.pool2d.avg_backward(gy, window, *shape[2:]),
                 {"forward": bytes_, "backward": bytes_}, "GB/s")]


def _batch_norm(draw, shape):
    x, weight, bias, gy = draw(*shape), draw(shape[1]), draw(shape[1]), draw(*shape)
    mean, var = kernels.batch_norm.statistics(x)

    def forward(x, gy):
        found = kernels.batch_norm.statistics(x)
        return (kernels.batch_norm.normalize(x, *found, weight, bias, 1e-5), *found)
    return [Case("batch_norm", "batch normalisation (training)", f"x {shape}", (x, gy), forward,
                 lambda x, gy: kernels.batch_norm.backward(gy, x, mean, var, weight, 1e-5, True),
                 {"forward": 2 * x.nbytes, "backward": 3 * x.nbytes}, "GB/s")]


def _lrn(draw, shape, size):
    x, gy = draw(*shape), draw(*shape)
    constants = (size, 1.0, 0.75, 1.0)       # alpha so large that every term matters
    return [Case("lrn", "local response normalisation", f"x {shape}, size {size}", (x, gy),
                 lambda x, gy: kernels.lrn.forward(x, *constants),
                 lambda x, gy: kernels.lrn.backward(gy, x, *constants),
                 {"forward": 2 * x.nbytes, "backward": 3 * x.nbytes}, "GB/s")]


def _concat(draw, shape):
    xs = [draw(*shape) for _ in range(4)]
    gy, sizes = draw(shape[0], 4 * shape[1], *shape[2:]), (shape[1],) * 4
    return [Case("concat", "concatenation", f"4 arrays {shape} along the channels", (gy, *xs),
                 lambda gy, *xs: kernels.concat.forward(xs, 1),
                 lambda gy, *xs: kernels.concat.backward(gy, sizes, 1),
                 {"forward": 2 * gy.nbytes, "backward": 2 * gy.nbytes}, "GB/s")]


def _activation(draw, shape):
    x, gy = draw(*shape), draw(*shape)
    y = kernels.activation.relu_forward(x)
    return [Case("activation", "ReLU", f"x {shape}", (x, gy, y),
                 lambda x, gy, y: kernels.activation.relu_forward(x),
                 lambda x, gy, y: kernels.activation.relu_backward(gy, y),
                 {"forward": 2 * x.nbytes, "backward": 3 * x.nbytes}, "GB/s")]


def _dropout(draw, shape):
    x, gy = draw(*shape), draw(*shape)
    return [Case("dropout", "dropout", f"x {shape}, p 0.5", (),
                 lambda: kernels.dropout.forward(x, 0.5, 12345),
                 lambda: kernels.dropout.backward(gy, 0.5, 12345),
                 {"forward": 2 * x.nbytes, "backward": 2 * x.nbytes}, "GB/s")]


def _loss(draw, shape):
    x = draw(*shape)
    labels = np.arange(shape[0]) % shape[1]
    logp = kernels.loss.log_softmax_forward(x)
    return [Case("loss", "softmax and cross-entropy", f"logits {shape}", (),
                 lambda: kernels.loss.cross_entropy_forward(x, labels, 0.1),
                 lambda: kernels.loss.cross_entropy_backward(1.0, logp, labels, 0.1),
                 {"forward": 2 * x.nbytes, "backward": 2 * x.nbytes}, "GB/s")]


_BUILDERS = {"conv2d": _conv2d, "linear": _linear, "pool2d": _pool2d, "batch_norm": _batch_norm, "lrn": _lrn,
             "concat": _concat, "activation": _activation, "dropout": _dropout, "loss": _loss}
