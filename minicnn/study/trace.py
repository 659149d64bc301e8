"""Where in a network an op runs: observers of autograd that follow the calls of its modules."""

import contextlib

from minicnn import random
from minicnn.errors import ShapeError


class Tracer:
    """An observer that knows the path of the innermost module running; subclasses add what they watch for."""

    def __init__(self, model):
        self._names = {id(module): name for name, module in model.named_modules()}
        self._stack = []

    def enter(self, module):
        """A module that the network does not own counts as part of the one that called it."""
        self._stack.append(self._names.get(id(module), self.path))

    def leave(self, module):
        self._stack.pop()

    @property
    def path(self):
        """The dotted name of the module running, "" for the network itself, None outside."""
        return self._stack[-1] if self._stack else None


@contextlib.contextmanager
def preserved(model):
    """Leave the modes, buffers and gradients of a model, and minicnn.random, as they were before this with-block."""
    state = random.get_state()
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, key, array, array.copy()) for module in model.modules()
               for key, array in module._buffers.items() if array is not None]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        yield model
    finally:
        random.set_state(state)
        for module, training in modes:
            module.training = training
        for module, key, array, before in buffers:
            array[...] = before
            module._buffers[key] = array
        for parameter, gradient in gradients:
            parameter.grad = gradient


def dtype_of(model):
    """The dtype of a model's parameters, float32 if it has none."""
    return next((parameter.dtype for parameter in model.parameters()), "float32")


def check_input_shape(input_shape, batch):
    """(batch, *input_shape) as integers; raises ShapeError unless every side is a positive integer."""
    sides = (batch, *input_shape)
    if not input_shape or not all(hasattr(side, "__index__") and side > 0 for side in sides):
        raise ShapeError(f"input_shape {input_shape!r} with batch {batch!r} is not made of positive integers; "
                         "give (channels, height, width) such as (3, 32, 32)")
    return tuple(int(side) for side in sides)
