"""Compile ahead of time: Numba keeps what it compiled on disk, so that later runs start at once.

Numba compiles one function at a time in a process. A network's training step is therefore run here while other processes
compile what the step comes to late, the backward passes first. What they have finished, this process finds in Numba's cache;
what they could not do, it does itself.
"""

import contextlib
import multiprocessing

import numpy as np

import kernels
from kernels import layout
from minicnn import ops
from minicnn.autograd import Tensor, no_grad
from minicnn.study import bench_cases
from minicnn.study.trace import dtype_of, preserved

# Small, but with more than one image and more than one pixel: the types are what counts. A rung that leaves small shapes to the
# one below gets what it takes: few channels; small groups; enough channels for Strassen's and Winograd's algorithms, and so
# many that Winograd's other way pays.
SMALL = {"conv2d": {"shape": (2, 4, 8, 8), "out": 4}, "linear": {"shape": (2, 64), "out": 32},
         "pool2d": {"shape": (2, 4, 8, 8)}, "loss": {"shape": (2, 4)}, "dropout": {"shape": (2, 8)}}
SMALL_MAP = {"shape": (2, 4, 8, 8)}
SUITABLE = {"folding": [{"shape": (2, 3, 8, 8), "out": 4}],
            "grouped": [{"shape": (2, 32, 8, 8), "out": 32, "groups": 8}],
            "strassen": [{"shape": (2, 256, 8, 8), "out": 256, "kernel": 1, "padding": 0, "stride": s} for s in (1, 2)],
            "winograd": [{"shape": (2, 64, 14, 14), "out": 64}, {"shape": (2, 512, 7, 7), "out": 512}]}


def kernel_steps(dtypes=("float32", "float64")):
    """A list of (what, function): calling each compiles one rung of one room in one dtype, forward and backward, or a step of
    STEPS, among which are fused kernels."""
    rungs = [(f"{op} {rung} {dtype}", lambda op=op, rung=rung, dtype=dtype: _run_rung(op, rung, dtype))
             for op in bench_cases.DEFAULTS for rung in kernels.rungs(op) if rung != "reference" for dtype in dtypes]
    return rungs + [(f"{name}, {dtype}", lambda step=step, dtype=dtype: step(dtype))
                    for name, (_, step) in STEPS.items() for dtype in dtypes]


def _run_rung(op, rung, dtype):
    for options in SUITABLE.get(rung, [SMALL.get(op, SMALL_MAP)]):
        for case in bench_cases.cases(op, dtype, **options):
            _run_case(case, rung, "forward", "backward")


def _run_case(case, rung, *directions):
    with kernels.using(**{case.op: rung}):
        for direction in directions:
            case.call(direction, rung)()


def _benched(op, *directions):
    """A step of STEPS: the first of bench's cases of an operation, on its highest rung."""
    def step(dtype):
        _run_case(bench_cases.cases(op, dtype, **SMALL.get(op, SMALL_MAP))[0], kernels.rungs(op)[-1], *directions)
    return step


def warm_model(model, input_shape, batch=2):
    """Run what training and evaluation of `model` will run, so that all its kernels are compiled; the model stays as it was."""
    image = Tensor(np.random.default_rng(0).standard_normal((batch, *input_shape)).astype(dtype_of(model)))
    with preserved(model):
        model.train()
        output = model(image)
        first = output[0] if isinstance(output, tuple | list) else output
        ops.cross_entropy(first, np.zeros(batch, np.int64)).backward()
        _update(dtype_of(model))
        with no_grad():
            model.eval()(image)


@contextlib.contextmanager
def helpers(layers, count):
    """Inside this with-block `count` processes compile what training a network with such layers needs, see STEPS; yields a list
    of (step, functions compiled), which grows. At its end they stop, wherever they are.

    layers: names of classes of minicnn.nn, see `layer_names`.
    """
    done = []
    steps = [name for name, (layer, _) in STEPS.items() if layer in layers]
    if not count or not steps:
        yield done
        return
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        for name in steps:
            pool.apply_async(_run_step, (name,), callback=done.append)
        yield done


def layer_names(model):
    """The names of the classes of a model's layers, and "Loss"."""
    return {type(module).__name__ for _, module in model.named_modules()} | {"Loss"}


def _run_step(name):
    """In a helper: (name, how many functions were compiled for it)."""
    from minicnn.study.compilation import watching
    with watching() as seen:
        STEPS[name][1]("float32")
    return name, seen.compiled


def _image(dtype, *shape):
    """Random values in the order of the fast rungs."""
    return layout.channels_last(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def _convolution(dtype, rung, direction, channels, side, kernel):
    x, weight = _image(dtype, 2, channels, side, side), np.ones((channels, channels, kernel, kernel), dtype)
    window = kernels.Window2d.of(kernel, 1, kernel // 2)
    with kernels.using(conv2d=rung):
        if direction == "forward":
            kernels.conv2d.forward(x, weight, None, window)
        else:
            kernels.conv2d.backward(x, x, weight, window, needs=(False, True, True))    # the input's is a forward pass


def _norm(dtype):
    """x, its statistics, weight and bias of a batch norm."""
    return _image(dtype, 2, 16, 8, 8), *(np.ones(16, dtype) for _ in range(4))


def _norm_add_backward(dtype):
    x, mean, var, weight, _ = _norm(dtype)
    kernels.batch_norm.add_relu_backward(x, x, x, mean, var, weight, 1e-5, True)


def _norm_add_forward(dtype):
    x, mean, var, weight, bias = _norm(dtype)
    kernels.batch_norm.normalize(x, mean, var, weight, bias, 1e-5, x, True)


def _update(dtype):
    """A step of the optimizer, on a parameter of its own."""
    kernels.sgd.step_all(*([np.ones(4, dtype)] for _ in range(3)), 0.1, 0.9)


# What a helper can do: the layer that needs it, and a function of the dtype. First what has no functions in common with a
# network's first layers, which are compiled by the process that runs it meanwhile; then what a training step comes to late.
STEPS = {
    "batch norm backward": ("BatchNorm2d", _benched("batch_norm", "backward")),
    "batch norm, shortcut backward": ("BatchNorm2d", _norm_add_backward),
    "linear backward": ("Linear", _benched("linear", "backward")),
    "max pooling backward": ("MaxPool2d", _benched("pool2d", "backward")),
    "convolution backward": ("Conv2d", lambda dtype: _convolution(dtype, "implicit_gemm", "backward", 64, 8, 1)),
    "strassen backward": ("Conv2d", lambda dtype: _convolution(dtype, "strassen", "backward", 256, 8, 1)),
    "winograd backward, many filters": ("Conv2d", lambda dtype: _convolution(dtype, "winograd", "backward", 512, 7, 3)),
    "winograd backward": ("Conv2d", lambda dtype: _convolution(dtype, "winograd", "backward", 64, 8, 3)),
    "loss": ("Loss", _benched("loss", "forward", "backward")),
    "update": ("Loss", _update),
    "linear forward": ("Linear", _benched("linear", "forward")),
    "batch norm, shortcut forward": ("BatchNorm2d", _norm_add_forward),
    "strassen": ("Conv2d", lambda dtype: _convolution(dtype, "strassen", "forward", 64, 8, 1)),
    "winograd forward, many filters": ("Conv2d", lambda dtype: _convolution(dtype, "winograd", "forward", 512, 7, 3)),
    "winograd forward": ("Conv2d", lambda dtype: _convolution(dtype, "winograd", "forward", 64, 8, 3)),
}
