"""What is checked, behind one interface: a function of tensors, a NumPy pair (forward, backward), or a recorded op.

A Subject has `names` and `arrays` (the point at which it is checked), `value(arrays)` -> y and `open(arrays)` -> (y,
backward), where backward(gy) gives one gradient for each array. Every evaluation starts from the same random state and
the same buffers, so that dropout draws the same mask each time; `close` leaves everything as it was found.
"""

import copy
import inspect

import numpy as np

from minicnn import ops, random
from minicnn.autograd import Op, Tensor, apply, no_grad
from minicnn.errors import ArgumentError


class BackwardError(Exception):
    """The forward and backward pass under test raised an error; `cause` is what it raised."""

    def __init__(self, cause):
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


class FunctionSubject:
    """function(*inputs) -> a tensor, or several in a tuple; parameters of a Module count as inputs."""

    def __init__(self, function, inputs, names=None):
        self.function = function
        self.module = function if hasattr(function, "named_buffers") else None
        self.fixed = [x if _is_fixed(x) else None for x in inputs]
        free = [i for i, x in enumerate(inputs) if not _is_fixed(x)]
        names = names or input_names(function, len(inputs))
        parameters = dict(function.named_parameters()) if hasattr(function, "named_parameters") else {}
        self.parameters = list(parameters.values())
        self.names = [names[i] for i in free] + list(parameters)
        self.arrays = [_array(inputs[i]) for i in free] + [p.data for p in self.parameters]
        self.saved = [(p, p.data, p.grad, p.requires_grad) for p in self.parameters]
        self.random_state = random.get_state()
        self.buffers = _buffers(self.module)

    def value(self, arrays):
        """The output alone, nothing recorded."""
        with no_grad(), np.errstate(all="ignore"):
            return _joined([y.data for y in self._call(arrays)[0]])

    def open(self, arrays):
        """(y, backward): backward may be called once."""
        with np.errstate(all="ignore"):
            outputs, tensors = self._call(arrays)
            probe = _Probe()
            outputs[0] = apply(probe, outputs[0])

        def backward(gy):
            for tensor in tensors:
                tensor.grad = None
            try:
                with np.errstate(all="ignore"):
                    _backward(outputs, gy)
            except Exception as error:
                raise BackwardError(error) from error
            if probe.changed():
                gy[...] = np.nan
            return [np.zeros_like(a) if t.grad is None else t.grad for a, t in zip(arrays, tensors)]
        return _joined([y.data for y in outputs]), backward

    def _call(self, arrays):
        self.restore()
        arrays = list(arrays)
        free = len(arrays) - len(self.parameters)
        for parameter, array in zip(self.parameters, arrays[free:]):
            parameter.data, parameter.requires_grad = array, True
        tensors = [Tensor(a, requires_grad=True) for a in arrays[:free]]
        rest = iter(tensors)
        result = self.function(*[next(rest) if x is None else x for x in self.fixed])
        outputs = list(result) if isinstance(result, tuple | list) else [result]
        for y in outputs:
            if not isinstance(y, Tensor):
                raise ArgumentError(f"gradcheck: the function returned {type(y).__name__}, not a Tensor; return a Tensor or "
                                    "a tuple of them, or pass a pair (forward, backward) of NumPy functions")
        return outputs, tensors + self.parameters

    def restore(self):
        """Random state and buffers as they were at the start."""
        random.set_state(self.random_state)
        for owner, key, array, values in self.buffers:
            array[...] = values
            owner._buffers[key] = array

    def changed_buffers(self):
        """Names of the buffers that the last evaluation changed."""
        names = {id(array): name for name, array in self.module.named_buffers()} if self.module else {}
        return [names.get(id(owner._buffers[key]), key) for owner, key, _, values in self.buffers
                if not np.array_equal(owner._buffers[key], values, equal_nan=values.dtype.kind == "f")]

    def close(self):
        """Parameters, buffers and the random state as they were."""
        self.restore()
        for parameter, data, grad, requires_grad in self.saved:
            parameter.data, parameter.grad, parameter.requires_grad = data, grad, requires_grad


class _Probe(Op):
    """The identity, on top of a function: sees whether the backward pass below it writes to what it is given."""

    given = None

    def forward(self, y):
        return y

    def backward(self, gy):
        self.given, self.before = gy.copy(), gy.copy()
        return self.given

    def changed(self):
        """Whether it was written to."""
        return self.given is not None and not np.array_equal(self.given, self.before, equal_nan=True)


class PairSubject:
    """A pair of NumPy functions. forward(*inputs) -> y, then backward(gy, *inputs) -> gradients of the float inputs;
    or forward(*inputs) -> (y, cache), then backward(gy, cache).
    """

    def __init__(self, forward, backward, inputs, names=None):
        self.forward, self.backward = forward, backward
        self.fixed = [x if _is_fixed(x) else None for x in inputs]
        names = names or input_names(forward, len(inputs))
        self.names = [name for name, x in zip(names, self.fixed) if x is None]
        self.arrays = [_array(x) for x in inputs if not _is_fixed(x)]
        self.random_state = random.get_state()

    def value(self, arrays):
        """The output alone; of complex arrays too, if forward takes them."""
        random.set_state(self.random_state)
        with np.errstate(all="ignore"):
            result = self.forward(*self._arguments(arrays))
        return np.asarray(result[0] if isinstance(result, tuple) else result)

    def open(self, arrays):
        """(y, backward)"""
        random.set_state(self.random_state)
        arguments = self._arguments(arrays)
        with np.errstate(all="ignore"):
            result = self.forward(*arguments)
        y, more = (result[0], result[1:]) if isinstance(result, tuple) else (result, arguments)

        def backward(gy):
            try:
                with np.errstate(all="ignore"):
                    gradients = self.backward(gy, *more)
            except Exception as error:
                raise BackwardError(error) from error
            return self._gradients(gradients, arrays)
        return np.asarray(y), backward

    def _arguments(self, arrays):
        rest = iter(arrays)
        return [next(rest) if x is None else x for x in self.fixed]

    def _gradients(self, gradients, arrays):
        gradients = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        if len(gradients) == len(self.fixed) != len(arrays):
            gradients = [g for g, x in zip(gradients, self.fixed) if x is None]
        if len(gradients) != len(arrays):
            raise BackwardError(ArgumentError(f"backward returned {len(gradients)} gradients for {len(arrays)} inputs; "
                                              "return one for each"))
        return [np.zeros_like(a) if g is None else np.asarray(g) for g, a in zip(gradients, arrays)]

    def close(self):
        """The random state as it was."""
        random.set_state(self.random_state)


class OpSubject:
    """An op as a model applied it, run again on its own with its gradients switched on."""

    def __init__(self, op, arrays, names):
        self.op, self.arrays, self.names = op, list(arrays), list(names)

    def _fresh(self):
        op = copy.copy(self.op)
        op.needs = (True,) * len(self.arrays)
        return op

    def value(self, arrays):
        """The output."""
        with np.errstate(all="ignore"):
            return np.asarray(self._fresh().forward(*arrays))

    def open(self, arrays):
        """(y, backward)"""
        op = self._fresh()
        with np.errstate(all="ignore"):
            y = np.asarray(op.forward(*arrays))

        def backward(gy):
            try:
                with np.errstate(all="ignore"):
                    gradients = op.backward(gy)
            except Exception as error:
                raise BackwardError(error) from error
            gradients = gradients if isinstance(gradients, tuple | list) else (gradients,)
            if len(gradients) != len(arrays):
                raise BackwardError(ArgumentError(f"backward returned {len(gradients)} gradients for {len(arrays)} inputs"))
            return [np.zeros_like(a) if g is None else g for g, a in zip(gradients, arrays)]
        return y, backward

    def close(self):
        """Nothing was changed."""


def subject_of(target, inputs):
    """The Subject for what users pass to check: see gradcheck.check."""
    names = list(inputs) if isinstance(inputs, dict) else None
    inputs = list(inputs.values()) if names else list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        return PairSubject(*target, inputs, names)
    if not callable(target) or isinstance(target, Op):
        raise ArgumentError(f"gradcheck: {target!r} is neither a function of tensors nor a pair (forward, backward); "
                            "wrap an Op as: lambda x: autograd.apply(MyOp(), x)")
    return FunctionSubject(target, inputs, names)


def input_names(function, count):
    """The function's own names for its positional inputs, else "input 0", "input 1", …"""
    try:
        function = function.forward if hasattr(function, "forward") else function
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds][:count]
    return names + [f"input {i}" for i in range(len(names), count)]


def _is_fixed(x):
    """Labels, indices and options are passed on as they are."""
    if isinstance(x, Tensor):
        return False
    return not isinstance(x, float | list | np.ndarray | np.floating) or np.asarray(x).dtype.kind != "f"


def _array(x):
    return np.array(x.data if isinstance(x, Tensor) else x, copy=True)


def _buffers(module):
    """(owner, name, array, its values) of every buffer of a module."""
    if module is None:
        return []
    return [(owner, key, array, array.copy()) for owner in module.modules() for key, array in owner._buffers.items()
            if array is not None]


def _joined(arrays):
    """One array: the only one, or all of them flat, one after the other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate([a.ravel() for a in arrays])


def _backward(outputs, gy):
    """One backward pass for all outputs; an output that depends on nothing has no gradient."""
    if len(outputs) == 1:
        if outputs[0].requires_grad:
            outputs[0].backward(gy)
        return
    total, start = None, 0
    for y in outputs:
        part = gy[start:start + y.size].reshape(y.shape)
        start += y.size
        if y.requires_grad:
            share = ops.sum(y * Tensor(part))
            total = share if total is None else total + share
    if total is not None:
        total.backward()
