"""How long each layer of a network takes, forward and backward."""

import functools
import operator
import statistics
import time
from dataclasses import dataclass

import numpy as np

from minicnn import ops, random
from minicnn.autograd import Tensor, no_grad, observing
from minicnn.study.trace import Tracer, check_input_shape, dtype_of, preserved


@dataclass(frozen=True)
class LayerTime:
    """Seconds of one operation: medians over the repeats. backward is 0 where no gradient was asked for."""

    path: str
    operation: str
    forward: float
    backward: float


class _Stopwatch(Tracer):
    """Collects the seconds of each op of one pass, in the order of the forward pass."""

    def __init__(self, model):
        super().__init__(model)
        self.rows, self._places = [], {}

    def forward(self, op, inputs, output, seconds):
        if self.path is not None:
            self._places[id(op)] = len(self.rows)
            self.rows.append([self.path, type(op).__name__, seconds, 0.0])

    def backward(self, op, gy, gradients, seconds):
        if id(op) in self._places:
            self.rows[self._places.pop(id(op))][3] = seconds


def time_layers(model, input_shape, batch=32, repeats=5, seconds=10.0, progress=None):
    """Time a forward and a backward pass in training mode, op by op -> a list of LayerTime.

    Runs once to warm up (compilation, fresh memory) and then `repeats` times on random images, fewer if that takes
    more than `seconds`; each op's median is taken by itself. The model's modes, running statistics and gradients stay as
    they were. progress(done, of) is called after each pass.
    Raises ShapeError for an impossible input_shape (channels, height, width).
    """
    shape = check_input_shape(input_shape, batch)
    state = random.get_state()
    image = Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype_of(model)))
    passes, end = [], None
    with preserved(model):
        model.train()
        for i in range(repeats + 1):
            random.set_state(state)         # the same paths are dropped each time
            passes.append(_one_pass(model, image))
            if progress:
                progress(i + 1, repeats + 1)
            end = end or time.perf_counter() + seconds
            if i and time.perf_counter() > end:
                break
    return [LayerTime(path, operation, *[statistics.median(one[i][column] for one in passes[1:]) for column in (2, 3)])
            for i, (path, operation, *_) in enumerate(passes[0])]


def _one_pass(model, image):
    stopwatch = _Stopwatch(model)
    model.zero_grad()
    with observing(stopwatch):
        outputs = model(image)
        outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
        total = functools.reduce(operator.add, [ops.sum(y) for y in outputs])
        total.backward()
    return stopwatch.rows


def time_inference(model, input_shape, batch=32, repeats=5):
    """Median seconds of a forward pass on `batch` random images in evaluation mode, after one to warm up."""
    shape = check_input_shape(input_shape, batch)
    image = Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype_of(model)))
    seconds = []
    with preserved(model), no_grad():
        model.eval()
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model(image)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
