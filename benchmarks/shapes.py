"""Every distinct layer of the networks, with how often each network has it, from a pass of the twins without arithmetic.

PyTorch's "meta" device computes shapes alone; what the twins call is written down on the way. A layer is a dict: "op", the op's
sizes (see LAYERS), and "models": {model: how many}.
"""

import math

# op: (the passes that are timed, what they must read and write at least, in values of x and of y)
MEMORY_BOUND = {
    "relu": {"forward": lambda x, y: x + y, "backward": lambda x, y: x + 2 * y},
    "batch_norm": {"forward": lambda x, y: 2 * x + y, "backward": lambda x, y: 3 * x + 2 * y},
    "batch_norm_relu": {"forward": lambda x, y: 2 * x + y, "backward": lambda x, y: 3 * x + 2 * y},
    "batch_norm_add_relu": {"forward": lambda x, y: 3 * x + y, "backward": lambda x, y: 4 * x + 3 * y},
    "max_pool": {"forward": lambda x, y: x + y, "backward": lambda x, y: x + y},
    "avg_pool": {"forward": lambda x, y: x + y, "backward": lambda x, y: x + y},
    "global_avg_pool": {"forward": lambda x, y: x + y, "backward": lambda x, y: x + y},
    "lrn": {"forward": lambda x, y: x + y, "backward": lambda x, y: 2 * x + y},
    "concat": {"forward": lambda x, y: x + y, "backward": lambda x, y: x + y},
    "sgd": {"step": lambda x, y: 5 * x},
}
CONVOLUTION_PASSES = ("forward", "data", "weight")
OPS = ("conv2d", *MEMORY_BOUND)
PASSES = {name for op in MEMORY_BOUND for name in MEMORY_BOUND[op]} | set(CONVOLUTION_PASSES)
# Response normalisation is in no network of the table: AlexNet's and GoogLeNet's first layers, as in their papers.
LRN = {"alexnet": ((96, 55, 55), (256, 27, 27)), "googlenet": ((64, 56, 56), (192, 56, 56))}


def passes(op):
    """The passes of an op that are timed by themselves."""
    return CONVOLUTION_PASSES if op == "conv2d" else tuple(MEMORY_BOUND[op])


def layers(models, batch_of):
    """The distinct layers of these models, each in the model's order; batch_of(model) images. Needs PyTorch."""
    found = {}
    for model in models:
        for op, sizes in _called(model, batch_of(model)):
            counts = found.setdefault((op, tuple(sizes.items())), {})
            counts[model] = counts.get(model, 0) + 1
    for model, inputs in LRN.items():
        for shape in inputs:
            found["lrn", (("shape", (16, *shape)), ("size", 5))] = {model: 1}
    return [{"op": op, **dict(sizes), "models": counts} for (op, sizes), counts in found.items()]


def _called(model, batch):
    """(op, sizes) of each call of the twin's forward pass in training mode, and its SGD update."""
    import torch

    from benchmarks.torch_models import TWINS
    with torch.device("meta"):
        twin = TWINS[model]()
    side = 32 if model in ("resnet20", "resnet110") else 224
    log = _log()
    with torch.no_grad(), log:
        twin(torch.empty(batch, 3, side, side, device="meta"))
    yield from log.calls
    yield "sgd", {"model": model}


def _log():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Log(TorchDispatchMode):
        """Keeps (op, sizes) of what it knows."""

        def __init__(self):
            super().__init__()
            self.calls = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            read = READERS.get(str(function))
            if read:
                self.calls += read(*args)
            return function(*args, **(kwargs or {}))
    return Log()


def _shape(x):
    return tuple(x.shape)


def _convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    yield "conv2d", {"shape": _shape(x), "weight": _shape(weight), "stride": stride[0], "padding": padding[0],
                     "groups": groups}


def _relu(x):
    if x.ndim == 4:
        yield "relu", {"shape": _shape(x)}


def _batch_norm(x, *rest):
    for op in ("batch_norm", "batch_norm_relu", "batch_norm_add_relu"):
        yield op, {"shape": _shape(x)}


def _max_pool(x, kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    yield "max_pool", {"shape": _shape(x), "kernel": kernel[0], "stride": stride[0], "padding": padding[0],
                       "ceil_mode": ceil_mode}


def _avg_pool(x, kernel, stride, *rest):
    yield "avg_pool", {"shape": _shape(x), "kernel": kernel[0], "stride": stride[0]}


def _mean(x, *rest):
    yield "global_avg_pool", {"shape": _shape(x)}


def _cat(tensors, axis=0):
    yield "concat", {"shapes": tuple(_shape(x) for x in tensors)}


READERS = {"aten.convolution.default": _convolution, "aten.relu_.default": _relu, "aten.native_batch_norm.default": _batch_norm,
           "aten.max_pool2d_with_indices.default": _max_pool, "aten.avg_pool2d.default": _avg_pool, "aten.mean.dim": _mean,
           "aten.cat.default": _cat}


def macs(layer):
    """Multiply-accumulates of a convolution, the same for each pass."""
    N, _, H, W = layer["shape"]
    K, Cg, R, S = layer["weight"]
    OH, OW = ((side + 2 * layer["padding"] - kernel) // layer["stride"] + 1 for side, kernel in ((H, R), (W, S)))
    return N * K * OH * OW * Cg * R * S


def values(layer, output_values):
    """Values that each pass of a memory-bound layer must read and write at least: {pass: values}."""
    shapes = layer.get("shapes") or [layer.get("shape", (layer.get("values", 0),))]
    size = sum(math.prod(shape) for shape in shapes)
    return {name: count(size, output_values) for name, count in MEMORY_BOUND[layer["op"]].items()}


def describe(layer):
    """A layer in a few characters: 16x64x56x56 3x3/2 -> 128 g32."""
    if layer["op"] == "sgd":
        return layer["model"]
    if layer["op"] == "concat":
        return "+".join(str(shape[1]) for shape in _folded(layer["shapes"])) + " " + _sides(layer["shapes"][0])
    text = "x".join(map(str, layer["shape"]))
    if layer["op"] == "conv2d":
        K, _, R, S = layer["weight"]
        text += f" {R}x{S}" + (f"/{layer['stride']}" if layer["stride"] > 1 else "") + f" -> {K}"
        return text + (f" g{layer['groups']}" if layer["groups"] > 1 else "")
    if "kernel" in layer:
        return text + f" {layer['kernel']}x{layer['kernel']}/{layer['stride']}"
    return text


def _folded(shapes):
    """The first shapes, and what the rest add up to, for long lists."""
    if len(shapes) <= 4:
        return shapes
    return [*shapes[:2], (0, sum(shape[1] for shape in shapes[2:]))]


def _sides(shape):
    return f"x{shape[0]}x{shape[2]}x{shape[3]}"
