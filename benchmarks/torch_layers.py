"""One layer in PyTorch, as in minicnn_layers: {pass: (before, run)}."""

import contextlib
from types import SimpleNamespace

import torch
from torch.nn import functional as F


def layout(array, channels_last):
    """A tensor of the array, in C order or in PyTorch's channels_last, where PyTorch's own allocator puts it."""
    ordered = torch.channels_last if channels_last and array.ndim == 4 else torch.contiguous_format
    return torch.from_numpy(array).clone(memory_format=ordered)


def variants(layer):
    """Names: both layouts; for SGD PyTorch's default and its fused one."""
    return ("default", "fused") if layer["op"] == "sgd" else ("nchw", "channels_last")


def make(layer, arrays, name):
    """{pass: (before, run)} of one variant."""
    tensors = [layout(a, name == "channels_last") for a in arrays]
    return sgd(layer, tensors, name == "fused") if layer["op"] == "sgd" else LAYERS[layer["op"]](layer, tensors)


def watching():
    """Eager operators compile nothing."""
    return contextlib.nullcontext(SimpleNamespace(compiled=0))


def conv2d(layer, tensors):
    x, weight = tensors
    stride, padding, groups = [layer["stride"]] * 2, [layer["padding"]] * 2, layer["groups"]

    def forward(_):
        with torch.inference_mode():
            return F.conv2d(x, weight, None, stride, padding, 1, groups)

    def backward(*mask):
        return lambda gy: torch.ops.aten.convolution_backward(gy, x, weight, [0], stride, padding, [1, 1], False, [0, 0],
                                                              groups, mask)[mask.index(True)]
    gy = forward(None).abs().clone() * 0.5
    return {"forward": (lambda: None, forward), "data": (lambda: gy, backward(True, False, False)),
            "weight": (lambda: gy, backward(False, True, False))}


def sgd(layer, tensors, fused=False):
    """The update of every parameter, velocities there already."""
    parameters = [torch.nn.Parameter(t.clone()) for t in tensors]
    optimizer = torch.optim.SGD(parameters, 1e-3, 0.9, weight_decay=1e-4, fused=fused or None)
    for parameter, tensor in zip(parameters, tensors):
        parameter.grad = tensor * 0.1
    optimizer.step()

    def run(_):
        optimizer.step()
        return parameters[0].detach()
    return {"step": (lambda: None, run)}


def batch_norm(layer, tensors):
    mean, var, op = torch.zeros_like(tensors[1]), torch.ones_like(tensors[1]), layer["op"]

    def forward(x, weight, bias, *shortcut):
        y = F.batch_norm(x, mean, var, weight, bias, training=True)
        if shortcut:
            y += shortcut[0]
        return y if op == "batch_norm" else F.relu(y, inplace=True)
    return _op(forward, tensors)


def _op(function, tensors):
    def inputs():
        return [t.detach().requires_grad_() for t in tensors]

    def record():
        given = inputs()
        return function(*given), given

    def backward(recorded):
        y, given = recorded
        return torch.autograd.grad(y, given, gy)
    gy = function(*inputs()).detach().abs() * 0.5
    return {"forward": (inputs, lambda given: function(*given).detach()), "backward": (record, backward)}


LAYERS = {
    "conv2d": conv2d,
    "batch_norm": batch_norm,
    "batch_norm_relu": batch_norm,
    "batch_norm_add_relu": batch_norm,
    "relu": lambda layer, tensors: _op(F.relu, tensors),
    "max_pool": lambda layer, tensors: _op(
        lambda x: F.max_pool2d(x, layer["kernel"], layer["stride"], layer["padding"], 1, layer["ceil_mode"]), tensors),
    "avg_pool": lambda layer, tensors: _op(lambda x: F.avg_pool2d(x, layer["kernel"], layer["stride"]), tensors),
    "global_avg_pool": lambda layer, tensors: _op(lambda x: x.mean((2, 3)), tensors),
    "lrn": lambda layer, tensors: _op(lambda x: F.local_response_norm(x, layer["size"], 1.0, 0.75, 1.0), tensors),
    "concat": lambda layer, tensors: _op(lambda *xs: torch.cat(xs, 1), tensors),
}
