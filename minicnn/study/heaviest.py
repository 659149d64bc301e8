"""Which kernels of a network are worth timing: for each room the op with most work, at the shape the network gives it."""

import math

import numpy as np

from minicnn import ops
from minicnn.autograd import Tensor, no_grad, observing
from minicnn.study.bench_cases import DEFAULTS
from minicnn.study.trace import dtype_of, preserved
from minicnn.training.evaluate import first_output

MOST_FLOPS, MOST_VALUES = 160e6, 2 ** 20       # of a call: references are definitions, and slow


def heaviest_shapes(model, input_shape, batch):
    """{room: options for bench} of the heaviest op of each room in a training pass, heaviest room first.

    For `batch` images, or as many as keep a call below MOST_FLOPS and its input below MOST_VALUES; where one image is too
    much, a convolution gets the upper part of its map. The pass itself is made with two images. The model stays as it was.
    """
    collector = _Collector()
    image = Tensor(np.zeros((2, *input_shape), dtype_of(model)))
    with preserved(model), no_grad(), observing(collector):
        model.train()
        logits = first_output(model(image))
        if logits.ndim == 2:
            ops.cross_entropy(logits, np.zeros(2, np.int64))
    found = sorted(collector.found.items(), key=lambda item: -item[1][0])
    return {room: _within(work / 2, options, batch) for room, (work, options) in found}


def _within(flops, options, batch):
    """Options with a number of images, and if need be fewer rows, that keep a call short. flops: of one image."""
    channels, *sides = options["shape"][1:]
    fits = min(MOST_FLOPS / flops, MOST_VALUES / math.prod(options["shape"][1:]))
    if fits < 1 and "out" in options and sides:
        sides[0] = min(sides[0], max(math.ceil(sides[0] * fits), 3 * max(options["kernel"][0], options["stride"][0])))
    return {**options, "shape": (max(1, min(batch, int(fits))), channels, *sides)}


class _Collector:
    def __init__(self):
        self.found = {}

    def forward(self, op, inputs, output, seconds):
        room, options = _options(op, [x.shape for x in inputs])
        work = op.flops(output.shape, *[x.shape for x in inputs])
        if room and len(options["shape"]) == len(DEFAULTS[room]["shape"]) and work > self.found.get(room, (0,))[0]:
            self.found[room] = work, options


def _options(op, shapes):
    """(room, options of its bench case) of an op; (None, {}) for one without a room, or that the case cannot express."""
    kind, first = type(op).__name__, shapes[0]
    if kind in ("Conv2d", "MaxPool2d", "AvgPool2d"):
        w = op.window
        if (w.dilation_h, w.dilation_w) != (1, 1):
            return None, {}
        options = {"shape": first, "kernel": (w.kernel_h, w.kernel_w), "stride": (w.stride_h, w.stride_w),
                   "padding": ((w.top, w.bottom), (w.left, w.right))}
        return ("conv2d", {**options, "out": shapes[1][0], "groups": op.groups}) if kind == "Conv2d" else ("pool2d", options)
    if kind == "Linear":
        return "linear", {"shape": first, "out": shapes[1][0]}
    if kind == "LocalResponseNorm":
        return "lrn", {"shape": first, "size": op.size}
    if kind == "Dropout":
        return "dropout", {"shape": (first[0], math.prod(first[1:]))}
    plain = {"BatchNorm": "batch_norm", "ReLU": "activation", "CrossEntropy": "loss", "Concat": "concat", "Append": "concat"}
    return (plain[kind], {"shape": first}) if kind in plain else (None, {})
