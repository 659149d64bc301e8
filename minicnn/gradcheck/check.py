"""The checks that users call."""

import numpy as np

from minicnn import random
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import DTypeError
from minicnn.gradcheck.report import Report, Result

STEP, RTOL = 1e-5, 1e-6


def check(function, inputs):
    """Check every gradient of function(*inputs), which takes tensors and returns one -> Report.

    inputs: tensors or float64 arrays, or one of them; integer arrays (labels) are passed on unchecked. Parameters of
    a Module are checked as well. Raises DTypeError for float32 inputs.
    """
    inputs = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    parameters = dict(function.named_parameters()) if hasattr(function, "named_parameters") else {}
    tensors = [x if isinstance(x, Tensor) or _is_labels(x) else Tensor(np.asarray(x)) for x in inputs]
    named = {f"input {i}": t for i, t in enumerate(tensors) if isinstance(t, Tensor)} | parameters
    for name, t in named.items():
        if t.dtype != np.float64:
            raise DTypeError(f"gradcheck: {name} has dtype {t.dtype}; differences need float64, convert with "
                             ".astype('float64')")
    return _compare(function, tensors, named)


def check_model(model, x, loss=None):
    """Check the gradients of a model's input and of every parameter at input x (N, ...) -> Report.

    The model is converted to float64 for the check and left as it was: parameters, buffers, random state.
    loss: a function of the output tensor that returns a tensor; a random projection of the output by default.
    """
    state = {name: array.copy() for name, array in model.state_dict().items()}
    dtype = next((p.dtype for p in model.parameters()), np.float64)
    try:
        model.astype("float64")
        function = model if loss is None else _WithLoss(model, loss)
        return check(function, [np.asarray(x, np.float64)])
    finally:
        model.astype(dtype)
        model.load_state_dict(state)


def assert_gradients(function, inputs):
    """Raise AssertionError with the whole report unless check(function, inputs) passes; for tests."""
    report = check(function, inputs)
    if not report:
        raise AssertionError(str(report))


class _WithLoss:
    def __init__(self, model, loss):
        self.model, self.loss = model, loss
        self.named_parameters = model.named_parameters

    def __call__(self, x):
        return self.loss(self.model(x))


def _is_labels(x):
    return isinstance(x, np.ndarray) and x.dtype.kind in "iub"


def _compare(function, tensors, named):
    state, before = random.get_state(), {name: (t.requires_grad, t.grad) for name, t in named.items()}
    try:
        for t in named.values():
            t.requires_grad, t.grad = True, None
        random.set_state(state)
        y = function(*tensors)
        gy = np.random.default_rng(0).standard_normal(y.shape)
        y.backward(gy)
        analytic = {name: np.zeros_like(t.data) if t.grad is None else t.grad for name, t in named.items()}

        def value():
            random.set_state(state)
            with no_grad():
                return float((function(*tensors).data * gy).sum())
        return Report([_result(name, t, analytic[name], value) for name, t in named.items()])
    finally:
        random.set_state(state)
        for name, t in named.items():
            t.requires_grad, t.grad = before[name]


def _result(name, tensor, analytic, value):
    numeric = np.zeros_like(tensor.data)
    original = tensor.data
    tensor.data = moved = original.copy()
    for at in np.ndindex(moved.shape):
        ends = []
        for step in (STEP, -STEP):
            moved[at] = original[at] + step
            ends.append(value())
        moved[at] = original[at]
        numeric[at] = (ends[0] - ends[1]) / (2 * STEP)
    tensor.data = original
    error = np.abs(analytic - numeric)
    worst = np.unravel_index(error.argmax(), error.shape) if error.size else ()
    largest = max(np.abs(numeric).max(initial=0), 1e-3)
    wrong = error.size and not error[worst] <= RTOL * largest + 1e-8
    return Result(name, "wrong" if wrong else "right", tuple(int(i) for i in worst),
                  float(analytic[worst]) if error.size else None, float(numeric[worst]) if error.size else None)
