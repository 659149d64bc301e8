"""One layer on minicnn's kernels and ops: for each pass what to do before the clock starts, and what is timed.

LAYERS[op](layer, arrays) -> {pass: (before, run)}: run(before()) is timed and returns an array or a tuple of them.
"""

import numpy as np

import kernels
from kernels import layout as memory_layout
from kernels.geometry import Window2d
from minicnn import Tensor, ops, optim
from minicnn.autograd import observing
from minicnn.study import compilation


def layout(array, channels_last):
    """The values in C order, or with the channels of a pixel side by side; they start on a cache line, as what layers and
    PyTorch compute does."""
    ordered = channels_last and array.ndim == 4
    placed = memory_layout.empty(array.shape, array.dtype) if ordered else memory_layout.aligned(array.shape, array.dtype)
    placed[...] = array
    return placed


def arranged(layer, arrays, channels_last):
    """The arrays of a layer in one layout; filters in C order in either, as minicnn's layers hold them."""
    images = arrays[:1] if layer["op"] == "conv2d" else arrays
    return [layout(array, channels_last) for array in images] + arrays[len(images):]


def variants(layer):
    """{name: (whether channels_last, pinned rungs)}: both layouts, and what Winograd's algorithm is measured against."""
    found = {"nchw": (False, {}), "channels_last": (True, {})}
    if layer["op"] == "sgd":
        del found["channels_last"]
    if layer["op"] == "conv2d" and layer["weight"][2:] == (3, 3) and layer["stride"] == 1:
        found["without winograd"] = True, {"conv2d": "implicit_gemm"}
    return found


def make(layer, arrays, name):
    """{pass: (before, run)} of one variant."""
    channels_last, rungs = variants(layer)[name]

    def pinned(run):
        def call(given):
            with kernels.using(**rungs):
                return run(given)
        return call
    with kernels.using(**rungs):
        made = LAYERS[layer["op"]](layer, arranged(layer, arrays, channels_last))
    return {key: (before, pinned(run) if rungs else run) for key, (before, run) in made.items()}


def watching():
    """Counts what is compiled inside."""
    return compilation.watching()


def conv2d(layer, arrays):
    x, weight = arrays
    window = Window2d.of(weight.shape[2:], layer["stride"], layer["padding"], 1)
    groups = layer["groups"]

    def backward(gx, gweight):
        return lambda gy: kernels.conv2d.backward(gy, x, weight, window, groups, (gx, gweight, False))[0 if gx else 1]
    gy = _upstream(kernels.conv2d.forward(x, weight, None, window, groups))
    return {"forward": (lambda: None, lambda _: kernels.conv2d.forward(x, weight, None, window, groups)),
            "data": (lambda: gy, backward(True, False)), "weight": (lambda: gy, backward(False, True))}


def sgd(layer, arrays):
    """The update of every parameter of a model, velocities there already."""
    parameters = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    optimizer = optim.SGD(parameters, 1e-3, 0.9, 1e-4)
    for parameter, array in zip(parameters, arrays):
        parameter.grad = array * array.dtype.type(0.1)
    optimizer.step()

    def run(_):
        optimizer.step()
        return parameters[0].data
    return {"step": (lambda: None, run)}


def batch_norm(layer, arrays):
    """Alone, or with the shortcut's sum and ReLU in the same pass."""
    mean, var = np.zeros_like(arrays[1]), np.ones_like(arrays[1])
    if layer["op"] == "batch_norm":
        return _op(lambda x, weight, bias: ops.batch_norm(x, mean, var, weight, bias, training=True), arrays)
    return _op(lambda x, weight, bias, add=None: ops.batch_norm_relu(x, mean, var, weight, bias, True, add=add), arrays)


def _op(function, arrays):
    """The forward pass of one op that records itself, and its backward pass; an op is used once, so made anew each time."""
    class Seen:
        def forward(self, op, inputs, output, seconds):
            self.op = op

    def record():
        seen = Seen()
        with observing(seen):
            function(*tensors())
        return seen.op

    def tensors():
        return [Tensor(a, requires_grad=True) for a in arrays]
    gy = _upstream(function(*tensors()).data)
    return {"forward": (tensors, lambda inputs: function(*inputs).data), "backward": (record, lambda op: op.backward(gy))}


def _upstream(y):
    """A gradient of y's shape and layout that the other engine makes alike, small where a ReLU bends and not linear in y."""
    gradient = np.abs(y) * y.dtype.type(0.5)
    on_cpu = isinstance(gradient, np.ndarray)
    return layout(gradient, memory_layout.prefers_channels_last(gradient)) if on_cpu else gradient


LAYERS = {
    "conv2d": conv2d,
    "sgd": sgd,
    "batch_norm": batch_norm,
    "batch_norm_relu": batch_norm,
    "batch_norm_add_relu": batch_norm,
    "relu": lambda layer, arrays: _op(ops.relu, arrays),
    "max_pool": lambda layer, arrays: _op(
        lambda x: ops.max_pool2d(x, layer["kernel"], layer["stride"], layer["padding"], ceil_mode=layer["ceil_mode"]), arrays),
    "avg_pool": lambda layer, arrays: _op(lambda x: ops.avg_pool2d(x, layer["kernel"], layer["stride"]), arrays),
    "global_avg_pool": lambda layer, arrays: _op(ops.global_avg_pool2d, arrays),
    "lrn": lambda layer, arrays: _op(lambda x: ops.local_response_norm(x, layer["size"], 1.0, 0.75, 1.0), arrays),
    "concat": lambda layer, arrays: _op(lambda *xs: ops.concat(list(xs)), arrays),
}
