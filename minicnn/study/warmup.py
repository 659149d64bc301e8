"""Compile ahead of time: Numba keeps what it compiled on disk, so that later runs start at once."""

import numpy as np

import kernels
from minicnn import ops
from minicnn.autograd import Tensor, no_grad
from minicnn.study import bench_cases
from minicnn.study.trace import dtype_of, preserved

# Small, but with more than one image and more than one pixel: the types are what counts. A rung that leaves small shapes to the
# one below gets what it takes: small groups; enough channels for Winograd's algorithm, and so many that its other way pays.
SMALL = {"conv2d": {"shape": (2, 4, 8, 8), "out": 4}, "linear": {"shape": (2, 8), "out": 4},
         "pool2d": {"shape": (2, 4, 8, 8)}, "loss": {"shape": (2, 4)}, "dropout": {"shape": (2, 8)}}
SMALL_MAP = {"shape": (2, 4, 8, 8)}
SUITABLE = {"grouped": [{"shape": (2, 32, 8, 8), "out": 32, "groups": 8}],
            "winograd": [{"shape": (2, 64, 14, 14), "out": 64}, {"shape": (2, 512, 7, 7), "out": 512}]}


def kernel_steps(dtypes=("float32", "float64")):
    """A list of (what, function): calling each compiles one rung of one room in one dtype, forward and backward."""
    return [(f"{op} {rung} {dtype}", lambda op=op, rung=rung, dtype=dtype: _run_rung(op, rung, dtype))
            for op in bench_cases.DEFAULTS for rung in kernels.rungs(op) if rung != "reference" for dtype in dtypes]


def _run_rung(op, rung, dtype):
    for options in SUITABLE.get(rung, [SMALL.get(op, SMALL_MAP)]):
        cases = bench_cases.cases(op, dtype, **options)
        with kernels.using(**{op: rung}):
            for case in cases:
                case.call("forward", rung)()
                case.call("backward", rung)()


def warm_model(model, input_shape, batch=2):
    """Run what training and evaluation of `model` will run, so that all its kernels are compiled; the model stays as it was."""
    image = Tensor(np.random.default_rng(0).standard_normal((batch, *input_shape)).astype(dtype_of(model)))
    with preserved(model):
        model.train()
        output = model(image)
        first = output[0] if isinstance(output, tuple | list) else output
        ops.cross_entropy(first, np.zeros(batch, np.int64)).backward()
        with no_grad():
            model.eval()(image)
