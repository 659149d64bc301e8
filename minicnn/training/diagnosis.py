"""Where a loss that is not finite began: the batch is run again with every operation watched."""

import numpy as np

from minicnn import autograd


class _Watcher:
    """Notes the first operation whose output, and the first whose gradient, has a value that is not finite."""

    def __init__(self, model):
        self.names = {id(module): name or "the model" for name, module in model.named_modules()}
        self.inside, self.layer_of = [], {}
        self.activation = self.gradient = None

    def enter(self, module):
        self.inside.append(module)

    def leave(self, module):
        self.inside.pop()

    def forward(self, op, inputs, output, seconds):
        layer = self._layer()
        self.layer_of[id(op)] = layer
        if self.activation is None and not np.isfinite(np.asarray(output.data)).all():
            self.activation = f"the output of {layer}, operation {type(op).__name__}: {_count(output.data)}" \
                              f"{_inputs(inputs)}"

    def backward(self, op, gy, gradients, seconds):
        for number, gradient in enumerate(gradients if isinstance(gradients, tuple | list) else (gradients,)):
            if self.gradient is None and gradient is not None and not np.isfinite(np.asarray(gradient)).all():
                layer = self.layer_of.get(id(op), "the loss")
                self.gradient = f"the gradient of {layer}, operation {type(op).__name__}, for its input {number}: " \
                                f"{_count(gradient)} (its upstream gradient reached {np.abs(np.asarray(gy)).max():.3g})"

    def _layer(self):
        if not self.inside:
            return "the loss"
        module = self.inside[-1]
        return f"{self.names.get(id(module), '(not in the model)')} ({type(module).__name__})"


def first_bad_value(model, run_loss, images):
    """A sentence that names the first layer whose activation, or else gradient, is not finite for this batch.

    run_loss() runs the forward pass of the batch again and returns the loss; images is what went in.
    """
    if not np.isfinite(np.asarray(images)).all():
        return f"the images themselves hold {_count(images)}"
    watcher = _Watcher(model)
    with np.errstate(all="ignore"), autograd.observing(watcher):
        loss = run_loss()
        if watcher.activation is None:
            loss.backward()
    found = watcher.activation or watcher.gradient
    return f"the first value that is not finite is in {found}" if found else "running the batch again gave finite values"


def _count(array):
    array = np.asarray(array)
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    kinds = [f"{number} {kind}" for number, kind in ((nan, "NaN"), (infinite, "infinite")) if number]
    return f"{' and '.join(kinds)} of {array.size} values"


def _inputs(inputs):
    """Whether the weights were already bad, or how large the finite inputs were."""
    arrays = [np.asarray(x.data) for x in inputs]
    bad = [f"input {i}" for i, array in enumerate(arrays) if not np.isfinite(array).all()]
    if bad:
        return f" (already in its {' and '.join(bad)}, a weight)"
    return f" (its inputs are finite and reach {max((np.abs(array).max(initial=0) for array in arrays), default=0):.3g})"
